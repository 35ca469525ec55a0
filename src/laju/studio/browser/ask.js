// --- questions to the server, and small tools ------------------------------------------------------------------------
const byId = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const { data = {}, aria = {}, ...plain } = properties;
  const element = Object.assign(document.createElement(tag), plain);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(name === "role" ? name : `aria-${name}`, value);
  element.append(...children);
  return element;
};
const clear = (element, ...children) => { element.replaceChildren(...children); return element; };

const token = document.querySelector("meta[name=laju-token]").content;
try { localStorage.setItem("laju-token", token); } catch { /* a browser that stores nothing: a reload asks for the address */ }
// The token stays out of what a user copies from the address bar.
history.replaceState(null, "", location.pathname + location.hash);

let waiting = 0;
const wait = (more) => { // said to screen readers, too
  waiting += more;
  document.querySelector("main").setAttribute("aria-busy", waiting > 0);
};
const post = async (path, body, type = "application/json") => {
  let response;
  try {
    response = await fetch(path, { method: "POST", body, headers: { "x-laju-token": token, "content-type": type } });
  } catch {
    throw new Error("The studio does not answer: was laju studio stopped?");
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({ error: response.statusText }));
    throw new Error(answer.error);
  }
  return response;
};
const ask = async (action, content) => {
  wait(1);
  try { return await (await post(`/api/${action}`, JSON.stringify(content))).json(); } finally {
    setTimeout(() => wait(-1)); // when the answer has been shown
  }
};

// Of questions that follow each other fast, such as those of a drag, the last one alone is asked after the one under way.
const latest = (answered) => {
  let busy = false, next = null;
  const run = async (question) => {
    if (busy) { next = question; return; }
    busy = true;
    try { await answered(...question); } finally {
      busy = false;
      if (next) { const later = next; next = null; run(later); }
    }
  };
  return (...question) => run(question);
};

const message = (text, wrong = true) => {
  const box = byId("message");
  box.textContent = text || "";
  box.hidden = !text;
  box.classList.toggle("is-wrong", wrong);
};

// What has changed, for screen readers, once the page has settled; what has been said is not said again.
const said = new Map(), unsaid = new Map();
let speaking;
const say = (topic, text) => {
  if (said.get(topic) === text) return;
  said.set(topic, text);
  unsaid.set(topic, text);
  clearTimeout(speaking);
  speaking = setTimeout(() => { byId("said").textContent = [...unsaid.values()].join(" "); unsaid.clear(); }, 700);
};

const copy = async (text, button) => {
  const before = button.textContent;
  let done = true;
  try { await navigator.clipboard.writeText(text); } catch { // an older browser, or a frame that may not
    const area = document.body.appendChild(make("textarea", { value: text }));
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  button.textContent = done ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = before; }, 1500);
};

const save = (blob, name) => {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
};

const short = (x) => (x === null || x === undefined ? "–" : String(Number(x.toPrecision(4))));
const counted = (n) => n.toLocaleString("en-US");

// Tabs by arrow keys: the pattern of WAI-ARIA.
const tabs = (list, chosen) => {
  const each = () => [...list.querySelectorAll("[role=tab]")];
  const choose = (tab, focus) => {
    for (const other of each()) {
      other.setAttribute("aria-selected", other === tab);
      other.tabIndex = other === tab ? 0 : -1;
    }
    if (focus) tab.focus();
    chosen(tab);
  };
  list.addEventListener("click", (event) => { const tab = event.target.closest("[role=tab]"); if (tab) choose(tab); });
  list.addEventListener("keydown", (event) => {
    const all = each(), at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    choose(all[(to + all.length) % all.length], true);
  });
  return choose;
};
