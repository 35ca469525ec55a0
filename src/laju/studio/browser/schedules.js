// --- the rows of schedules, the numbers and the run ------------------------------------------------------------------
class Schedules {
  constructor(studio) {
    this.studio = studio;
    this.hidden = new Set();
    this.box = byId("schedules");
    this.rows = [];
    byId("add").onclick = () => studio.act("add", { policy: byId("policy").value });
    byId("axis").onchange = (event) => studio.change({ axis: event.target.value });
    byId("log").onchange = (event) => studio.change({ log: event.target.checked });
    byId("optimizer").onchange = (event) => studio.change({ optimizer: event.target.value.trim() });
    for (const input of document.querySelectorAll("[data-count]")) input.onchange = () => this.count(input);
    for (const input of document.querySelectorAll("[data-side]")) input.onchange = () => this.side(input);
  }

  count(input) {
    const text = input.value.replaceAll(/[,_\s]/g, ""), name = input.dataset.count;
    if (text && !/^[1-9]\d{0,15}$/.test(text)) {
      clear(byId("run-error"), `${input.parentElement.firstChild.textContent.trim()} must be a whole number, got ${input.value}`);
      return;
    }
    this.studio.change({ [name]: text ? Number(text) : undefined });
  }

  side(input) {
    const name = input.dataset.side, text = input.value.replaceAll(/[,_\s]/g, ""), number = Number(text);
    if (text && !(Number.isFinite(number) && (name === "low" || name === "top" || (Number.isInteger(number) && number >= 0)))) {
      message(`${name} of the picture must be a ${name === "low" || name === "top" ? "number" : "whole number of updates"}, got ${input.value}`);
      return;
    }
    message("");
    this.studio.change({ [name]: text ? number : undefined });
  }

  row(i) {
    const { studio } = this, name = `schedule ${i + 1}`;
    const active = make("input", { type: "radio", name: "active", title: "Gets the handles" , aria: { label: `${name} gets the handles` } });
    active.onchange = () => studio.change({ active: i, against: studio.state.against === i ? null : studio.state.against });
    const swatch = make("span", { className: "line-swatch" });
    swatch.style.background = `var(--c${i % 7})`;
    const text = make("input", { className: "text", type: "text", spellcheck: false, autocomplete: "off", aria: { label: `text of ${name}` } });
    text.oninput = () => studio.typed(i, text.value);
    const label = make("input", { className: "name", type: "text", placeholder: "name", spellcheck: false, autocomplete: "off", aria: { label: `name of ${name}` } });
    label.onchange = () => studio.line(i, { name: label.value });
    const show = make("input", { type: "checkbox", checked: true });
    show.onchange = () => { if (show.checked) this.hidden.delete(i); else this.hidden.add(i); studio.paint(); };
    const against = make("input", { type: "checkbox" });
    against.onchange = () => studio.change({ against: against.checked ? i : null });
    const remove = make("button", { type: "button", textContent: "Remove", aria: { label: `remove ${name}` } });
    remove.onclick = () => studio.remove(i);
    const wrong = make("pre", { className: "wrong", id: `wrong-${i}` });
    text.setAttribute("aria-describedby", wrong.id);
    const compare = make("label", { className: "compare" }, against, " difference to this");
    const element = make("div", { className: "schedule" },
      make("div", { className: "schedule-row" }, active, swatch, text, label), 
      make("div", { className: "schedule-tools" }, make("label", {}, show, " shown"), compare, remove), wrong);
    return { element, active, text, label, show, against, compare, remove, wrong };
  }

  show({ state, lines }) {
    while (this.rows.length < state.schedules.length) {
      this.rows.push(this.row(this.rows.length));
      this.box.append(this.rows.at(-1).element);
    }
    while (this.rows.length > state.schedules.length) this.rows.pop().element.remove();
    state.schedules.forEach((schedule, i) => {
      const row = this.rows[i], line = lines[i], single = state.schedules.length === 1;
      if (row.text.value !== schedule.text && !(document.activeElement === row.text && this.studio.typing)) row.text.value = schedule.text;
      if (document.activeElement !== row.label) row.label.value = schedule.name;
      row.active.checked = state.active === i;
      row.show.checked = !this.hidden.has(i);
      row.against.checked = state.against === i;
      row.compare.hidden = state.active === i;
      row.remove.hidden = single;
      row.active.hidden = single;
      row.element.classList.toggle("is-active", state.active === i);
      this.error(row, line, schedule.text);
      say(`error ${i}`, line.error ? `Schedule ${i + 1}: ${line.error}` : "");
    });
  }

  // The message, and below the text a caret where the reader stopped.
  error(row, line, text) {
    row.text.setAttribute("aria-invalid", Boolean(line.error));
    if (!line.error) { row.wrong.textContent = ""; return; }
    const at = line.column;
    if (at === null || at === undefined) { row.wrong.textContent = line.error; return; }
    const begin = Math.max(0, at - 30);
    row.wrong.textContent = `${line.error}\n${text.slice(begin, begin + 60)}\n${" ".repeat(at - begin)}^`;
  }

  fields(fields, label) {
    const box = byId("fields"), focused = document.activeElement?.dataset?.field;
    clear(byId("numbers-of"), label);
    clear(box, ...fields.map((field) => {
      const twice = fields.filter((other) => other.name === field.name).length > 1;
      const input = make("input", { value: field.text, inputMode: field.kind === "length" ? "text" : "decimal", data: { field: field.id }, autocomplete: "off" });
      input.onchange = () => this.studio.act("field", { id: field.id, text: input.value });
      const title = twice ? `${field.call}: ${field.name}` : field.name;
      return make("label", { className: field.written ? "" : "default", title: field.written ? "" : "not in the text yet: its default" }, `${title} `, input);
    }));
    if (focused) box.querySelector(`[data-field="${CSS.escape(focused)}"]`)?.focus();
  }

  run({ state, run_error: error, updates, x }) {
    for (const input of document.querySelectorAll("[data-count]")) {
      if (document.activeElement !== input) input.value = state[input.dataset.count] ?? "";
    }
    byId("axis").value = state.axis;
    byId("log").checked = state.log;
    if (document.activeElement !== byId("optimizer")) byId("optimizer").value = state.optimizer;
    clear(byId("run-error"), error || x.note || "");
    clear(byId("run-told"), `${counted(updates)} update${updates === 1 ? "" : "s"} are shown.`);
  }
}
