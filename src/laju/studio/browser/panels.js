// --- what laju says: findings, code, logs, forecast, comparisons -----------------------------------------------------
const list = (texts) => texts.map((text) => make("li", {}, text));

const mark = (color) => {
  const dot = make("span", { className: "line-swatch dot" });
  dot.style.background = `var(--c${color % 7})`;
  return dot;
};

class Panels {
  constructor(studio) {
    this.studio = studio;
    this.target = "torch";
    this.choose = tabs(byId("panels"), (tab) => {
      for (const other of byId("panels").querySelectorAll("[role=tab]")) byId(other.getAttribute("aria-controls")).hidden = other !== tab;
      if (this.open === "forecast" && this.studio.state) this.follow(this.studio.answer);
      this.refresh();
    });
    tabs(byId("systems"), (tab) => { this.target = tab.dataset.target; this.code(); });
    byId("yaml-system").onchange = () => this.code();
    byId("copy-code").onclick = (event) => copy(byId("code").textContent, event.currentTarget);
    byId("find-best").onclick = () => this.best();
    this.losses = new Chart(byId("forecast-chart"), { share: 0.6, least: 200, most: 420 });
    this.askCode = latest((state, target) => this.answered("code", { state, target }, (answer) => this.showCode(answer), (error) => this.noCode(error)));
    this.askForecast = latest((content, begin, asked) => this.answered("forecast", content, (answer) => this.showForecast(answer, begin, asked), (error) => this.noForecast(error, asked)));
    this.askLogs = latest((state) => this.answered("logs", { state, explain: this.open === "logs" }, ({ logs }) => this.showLogs(logs), (error) => message(error.message)));
    this.askStores = latest(() => this.answered("stores", {}, ({ stores }) => this.stores.show(stores), (error) => message(error.message)));
    this.stores = new Stores(studio);
  }

  async answered(action, content, good, bad) {
    try { good(await ask(action, content)); } catch (error) { bad(error); }
  }
  get open() { return byId("panels").querySelector("[aria-selected=true]").id.slice(4); }
  opened(name) { this.choose(byId(`tab-${name}`)); }

  start({ tabs: systems, stores }) {
    // Configurations share a tab, and one of their systems is chosen in it.
    const yaml = Object.entries(systems).filter(([target]) => target.startsWith("yaml:"));
    clear(byId("yaml-system"), ...yaml.map(([value, title]) => make("option", { value, textContent: title.slice(6) })));
    const shown = Object.entries(systems).filter(([target]) => !target.startsWith("yaml:"));
    clear(byId("systems"), ...[...shown, ["yaml", "YAML"]].map(([target, title]) => make("button", {
      type: "button", textContent: title, data: { target }, tabIndex: target === this.target ? 0 : -1,
      aria: { role: "tab", selected: target === this.target, controls: "system-panel" },
    })));
    byId("tab-stores").hidden = !stores.length;
    if (stores.length) {
      this.askStores();
      setInterval(() => document.visibilityState === "visible" && this.open === "stores" && this.askStores(), 3000);
    }
  }

  // What depends on the state, for the panel that is open; logs are drawn in the picture, too.
  refresh() {
    const { state } = this.studio;
    if (!state) return;
    if (this.open === "code") this.code();
    if (this.open === "stores") this.askStores();
    // A diagnosis may take seconds: asked for when the state has settled.
    clearTimeout(this.settled);
    if (this.hasLogs || this.open === "logs") this.settled = setTimeout(() => this.askLogs(this.studio.state), 250);
  }
  code() {
    byId("yaml").hidden = this.target !== "yaml";
    this.askCode(this.studio.state, this.target === "yaml" ? byId("yaml-system").value : this.target);
  }

  findings({ findings, checked, name, told, error }) {
    byId("findings-count").textContent = findings.length ? `(${findings.length})` : "";
    const items = findings.map((found) => {
      const fix = make("button", { type: "button", textContent: "Apply fix", className: "fix" });
      fix.onclick = () => this.studio.line(this.studio.state.active, { text: found.fix });
      const parts = [make("h3", {}, make("span", { className: `level ${found.level}` }, found.level), ` ${found.title} `, make("span", { className: "quiet" }, found.code)),
        make("p", {}, found.message), make("p", { className: "quiet small" }, `Why it matters: ${found.why}.`), make("p", { className: "small" }, `Instead: ${found.instead}`)];
      if (found.fix) parts.push(make("p", {}, make("code", {}, found.fix)), fix);
      return make("article", { className: "finding" }, ...parts);
    });
    if (!items.length) items.push(make("p", { className: "quiet" }, checked || "Nothing in this schedule looks like a mistake."));
    if (name) items.push(make("p", { className: "small" }, "By name: ", make("code", {}, name)));
    clear(byId("panel-findings"), ...items);
    if (!error) say("findings", findings.length ? `${findings.length} finding${findings.length > 1 ? "s" : ""}: ${findings.map(({ title }) => title).join("; ")}.` : "No finding.");
    byId("difference-told").textContent = told || "";
  }

  showCode({ code, own, facts, traps }) {
    byId("code").textContent = code;
    byId("copy-code").disabled = false;
    const how = own ? "The system's own scheduler has these values." : "No scheduler of the system has these values: the code uses laju's adapter.";
    byId("code-told").textContent = `${how} Counts: ${facts.counts}; ${facts.run}.`;
    clear(byId("traps"), ...list(traps));
  }
  noCode({ message: text }) {
    byId("code").textContent = "";
    byId("copy-code").disabled = true;
    byId("code-told").textContent = text;
    clear(byId("traps"));
  }

  // --- logs
  get hasLogs() { return Boolean(this.logs?.length); }
  showLogs(logs) {
    this.logs = logs;
    byId("logs-count").textContent = logs.length ? `(${logs.length})` : "";
    const help = make("p", { className: "quiet" }, "Drop a log on the page, or use Open a log…: CSV, JSON lines, trainer_state.json, TensorBoard's event files, printed lines. The active schedule is what was meant.");
    clear(byId("panel-logs"), ...(logs.length ? logs.map((log, i) => this.log(log, i)) : [help]));
    this.studio.paint();
  }
  log(log, i) {
    const remove = make("button", { type: "button", textContent: "Remove", aria: { label: `remove ${log.name}` } });
    remove.onclick = async () => { await ask("forget", { name: log.name }); this.refreshAll(); };
    const parts = [make("h3", {}, mark(i + 3), ` ${log.name} `, remove)];
    const reach = this.studio.answer.reaches.find((each) => each.name === log.name);
    if (reach) {
      const zoom = make("button", { type: "button", textContent: "Zoom to it", aria: { label: `zoom to ${log.name}` } });
      zoom.onclick = () => this.studio.zoomTo([reach]);
      parts[0].append(" ", zoom);
    }
    if (log.rates && !log.formula && !log.diagnosis) parts.push(make("p", { className: "quiet" }, "Looking for the formula and the cause…"));
    if (log.diagnosis) {
      const verdict = log.healthy === null ? "" : log.healthy ? "As meant. " : "Not as meant. ";
      say(`log ${log.name}`, `${log.name}: ${verdict}${log.diagnosis}`);
      parts.push(make("p", { className: log.healthy ? "good" : "bad" }, verdict, "Against the active schedule:"), make("pre", { className: "told" }, log.diagnosis));
    } else if (log.formula) {
      parts.push(make("p", { className: "quiet" }, "Type the schedule that was meant to see here why the rates are others."));
    }
    if (log.formula) {
      parts.push(make("p", {}, "Formula of the rates: ", make("code", {}, log.formula)));
      if (log.formula_text) {
        const open = make("button", { type: "button", textContent: "Show this schedule" });
        open.onclick = () => this.studio.addText(log.formula_text, log.name);
        parts.push(open);
      }
    }
    parts.push(make("p", { className: "quiet small" }, log.summary), this.columns(log.columns));
    if (log.notes.length) parts.push(make("ul", { className: "quiet small" }, ...list(log.notes)));
    return make("article", { className: "finding" }, ...parts);
  }
  columns(columns) {
    const rows = columns.map(({ name, kind, rows: n }) => make("tr", {}, make("th", { scope: "row" }, name), make("td", { className: "text" }, kind), make("td", {}, counted(n))));
    const head = make("tr", {}, ...["column", "taken for", "numbers"].map((text) => make("th", { scope: "col", className: text === "taken for" ? "text" : "" }, text)));
    return make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  }
  refreshAll() { // the picture has room for the logs
    this.askLogs(this.studio.now);
    this.studio.change({});
  }

  // --- forecast
  // A band is never of an older schedule in silence: until the newest has been answered, the picture is dim and says so.
  follow({ state, error }, begin = performance.now(), anew = false) {
    this.asked = (this.asked || 0) + 1;
    this.following(error ? "The active schedule's text is wrong; the band is of the last one that could be read." : "The band follows…");
    this.anew ||= anew; // until a question that says so is answered: a queued question gives way to the next
    if (!error) this.askForecast({ state, anew: this.anew }, begin, this.asked);
  }
  following(text) {
    byId("forecast-state").textContent = text;
    byId("panel-forecast").classList.toggle("is-following", Boolean(text));
  }
  showForecast(answer, begin, asked) {
    const measured = answer.measured.map((curve, i) => ({ ...curve, color: i + 3 }));
    byId("forecast-chart").toggleAttribute("hidden", false);
    byId("best").hidden = false;
    byId("forecast-told").textContent = `The active schedule ${answer.told}.`;
    this.losses.show({ ...answer, dots: measured, band: answer, curves: [{ updates: answer.updates, values: answer.loss, color: this.studio.state.active, main: true }] });
    const assumed = answer.assumed.map(({ name, schedule }) => make("li", {}, `${name} has no rates: taken as a run of `, make("code", {}, schedule)));
    if (assumed.length) {
      const anew = make("button", { type: "button", textContent: "A run of the active schedule" });
      anew.onclick = () => this.follow(this.studio.answer, performance.now(), true);
      assumed.at(-1).append(" ", anew);
    }
    clear(byId("forecast-notes"), ...assumed, ...list(answer.notes), ...measured.map(({ name, color }) => make("li", {}, mark(color), ` measured: ${name}`)));
    performance.measure("drag-to-band", { start: begin });
    if (asked !== this.asked) return;
    this.anew = false;
    this.following("");
    say("forecast", byId("forecast-told").textContent);
  }
  noForecast({ message: text }, asked) {
    byId("forecast-told").textContent = text;
    byId("forecast-chart").toggleAttribute("hidden", true);
    byId("best").hidden = true;
    clear(byId("forecast-notes"));
    if (asked !== this.asked) return;
    this.anew = false;
    this.following("");
  }
  async best() {
    const begin = Number(byId("best-from").value.replaceAll(",", "")) || 0;
    byId("best-told").textContent = "Searching…";
    try {
      const found = await ask("best", { state: this.studio.state, begin });
      const open = make("button", { type: "button", textContent: "Show this schedule" });
      open.onclick = () => this.studio.addText(found.text, "best");
      clear(byId("best-told"), make("code", {}, found.text), ` ${found.told} `, open);
    } catch (error) { byId("best-told").textContent = error.message; }
  }
}
