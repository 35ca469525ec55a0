// --- the page: one state, what is drawn of it, and the way back ------------------------------------------------------
class Studio {
  constructor() {
    this.state = null;
    this.past = [];
    this.future = [];
    this.good = new Map(); // by row, the last curve whose text could be read
    this.typing = false;
    this.curves = new Chart(byId("curves"));
    this.low = new Chart(byId("difference-chart"), { share: 0.2, least: 120, most: 200 });
    this.handles = new Handles(this.curves, {
      moved: (handle, place) => this.drag(handle, place, true),
      dropped: (handle, place) => this.drag(handle, place, false),
      nudged: (handle, x, y) => this.nudge(handle, x, y),
    });
    this.schedules = new Schedules(this);
    this.panels = new Panels(this);
    this.drop = new Drop(this);
    this.askView = latest(async (state) => {
      try { this.show(await ask("view", { state })); } catch (error) { message(error.message); }
      if (this.pending === state) this.pending = null;
    });
    this.askDrag = latest(async (content, begin) => {
      try {
        const answer = await ask("drag", content);
        if (content.moving) this.show(answer, { moving: true, begin }); else { this.dragged = null; this.show(answer, { begin }); }
        message("");
        performance.measure("drag-to-curve", { start: begin });
      } catch (error) {
        message(error.message);
        if (!content.moving) { this.dragged = null; this.askView(this.state); }
      }
    });
    byId("undo").onclick = () => this.back();
    byId("redo").onclick = () => this.forth();
    byId("copy-link").onclick = (event) => copy(location.origin + location.pathname + location.hash, event.currentTarget);
    for (const kind of ["png", "svg", "txt"]) byId(`export-${kind}`).onclick = () => this.export(kind);
    window.addEventListener("hashchange", () => { if (location.hash.slice(1) !== this.fragment) this.start(location.hash.slice(1)); });
    window.addEventListener("keydown", (event) => this.key(event));
    new Zoom(this.curves, (part) => this.zoom(part));
    byId("zoom-out").onclick = () => this.zoom(null);
    byId("zoom-log").onclick = () => this.zoomTo(this.answer.reaches);
    byId("curves").addEventListener("pointermove", (event) => this.answer && this.read(this.curves.place(event).at));
    byId("curves").addEventListener("pointerleave", () => this.read(null));
    byId("reader").oninput = (event) => this.read(Number(event.target.value));
  }

  async start(fragment) {
    try {
      const answer = await ask("start", { fragment });
      if (!this.state) {
        clear(byId("policy"), ...answer.about.policies.map((name) => make("option", {}, name)));
        byId("policy").value = "wsd";
        this.drop.most = answer.about.most;
        this.panels.start(answer.about);
      }
      this.show(answer);
      message(answer.refused);
      this.panels.askLogs(this.state);
      if (answer.about.stores.length) this.panels.opened("stores");
    } catch (error) { message(error.message); }
  }

  // --- showing
  show(answer, { moving = false, remember = true, begin = performance.now() } = {}) {
    if (!moving && remember && this.state && this.fragment !== answer.fragment) this.keep();
    // While a handle moves, answers have the curve alone, and nothing is written to the address or the way back: one drag is one
    // step of undo.
    this.answer = moving ? { ...this.answer, ...answer } : answer;
    if (!moving) {
      this.state = answer.state;
      this.fragment = answer.fragment;
      history.replaceState(null, "", `${location.pathname}#${answer.fragment}`);
    }
    answer.lines.forEach((line, i) => { if (line.updates) this.good.set(i, line); });
    this.schedules.show(this.answer);
    this.paint();
    const active = answer.state.active;
    if (answer.fields) this.schedules.fields(answer.fields, `of ${answer.state.schedules.length > 1 ? answer.lines[active].label : "the schedule"}`);
    this.schedules.run(answer);
    if (this.panels.open === "forecast") this.panels.follow(answer, begin); // the band moves with the handle
    if (moving) return;
    this.panels.findings(answer);
    this.panels.refresh();
    byId("undo").disabled = !this.past.length;
    byId("redo").disabled = !this.future.length;
    byId("reader").min = answer.begin;
    byId("reader").max = answer.end - 1;
    this.zooms(answer);
  }

  // Which part of the picture is shown, and how much of the picture the logs fill.
  zooms({ state, reaches, begin, end, y }) {
    byId("zoom-out").hidden = !["begin", "end", "low", "top"].some((side) => side in state);
    byId("zoom-log").hidden = !reaches.length;
    const share = Math.min(...reaches.map((log) => Math.max(...reaches.map((each) => each.end)) / (end - begin)), Math.max(...reaches.map((log) => log.top)) / y.top);
    byId("zoom-log").textContent = `Zoom to the log${reaches.length > 1 ? "s" : ""}${share < 0.2 ? `, ${Number(Math.max(share * 100, 0.01).toPrecision(1))} % of this picture` : ""}`;
    for (const input of document.querySelectorAll("[data-side]")) {
      if (document.activeElement !== input) input.value = state[input.dataset.side] ?? "";
    }
  }

  paint() {
    const { answer } = this;
    if (!answer) return;
    // Axes stay under the pointer, and where no text can be read.
    const { begin, end, x, y } = answer;
    if (answer.lines.some((line) => line.updates)) this.axes = { begin, end, x, y };
    const axes = this.dragged?.axes || this.axes || { begin, end, x, y };
    this.drawn = answer.lines.map((line, i) => {
      const curve = line.updates ? line : this.good.get(i);
      return curve && !this.schedules.hidden.has(i) ? { ...curve, label: line.label, stale: !line.updates, color: i, main: i === answer.state.active } : null;
    }).filter(Boolean);
    const ordered = [...this.drawn].sort((a, b) => a.main - b.main);
    const dots = (this.panels.logs || []).map((log, i) => log.rates && { ...log.rates, color: i + 3 }).filter(Boolean);
    this.curves.show({ ...axes, curves: ordered, dots });
    const hidden = this.schedules.hidden.has(answer.state.active) || answer.error;
    this.handles.show(hidden ? [] : answer.handles || []);
    const { difference } = answer;
    byId("difference").hidden = !difference;
    if (difference) {
      const reach = difference.reach, ticks = [-reach, 0, reach].map((at) => ({ at, label: at ? `${at > 0 ? "+" : "−"}${difference.label}` : "0" }));
      this.low.show({ ...axes, y: { low: -reach * 1.1, top: reach * 1.1, ticks }, curves: [{ ...difference, color: answer.state.active, main: true }] });
    }
  }

  read(at) {
    const curves = this.drawn?.filter((curve) => !curve.stale) || [];
    const main = curves.find((curve) => curve.main) || curves[0];
    if (at === null || !main?.updates.length) { this.curves.point_to(null); byId("readout").textContent = ""; return; }
    const there = main.updates[Math.min(Chart.point(main, at), main.updates.length - 2)] ?? 0;
    const { x } = this.answer, unit = x.unit === "updates" ? "" : ` (${short(there / x.per)} ${x.unit})`;
    const values = curves.map((curve) => `${curves.length > 1 ? `${curve.label.slice(0, 24)}: ` : ""}${short(curve.values[Chart.point(curve, there)])}`);
    byId("readout").textContent = `update ${counted(there)}${unit}: ${values.join("; ")}`;
    byId("reader").value = there;
    byId("reader").setAttribute("aria-valuetext", byId("readout").textContent);
    this.curves.point_to(there);
  }

  // --- changes
  // The state with the changes that the server has not answered yet.
  get now() { return this.pending || this.state; }
  change(parts) {
    const state = { ...this.now, ...parts };
    for (const name of Object.keys(parts)) if (parts[name] === undefined) delete state[name];
    this.pending = state;
    this.askView(state);
  }
  line(i, parts) {
    this.typing = false;
    this.change({ schedules: this.now.schedules.map((line, j) => (j === i ? { ...line, ...parts } : line)) });
  }
  async act(action, content) {
    try { this.show(await ask(action, { ...content, state: this.now })); message(""); } catch (error) { message(error.message); this.schedules.fields(this.answer.fields || [], byId("numbers-of").textContent); }
  }
  zoom(part) {
    if (!part) { this.change({ begin: undefined, end: undefined, low: undefined, top: undefined }); return; }
    const { begin, end, low, top } = part, sides = {};
    if (begin !== undefined) Object.assign(sides, { begin: Math.floor(begin), end: Math.max(Math.ceil(end), Math.floor(begin) + 1) });
    if (low !== undefined) Object.assign(sides, { low: Number(low.toPrecision(4)), top: Number(top.toPrecision(4)) });
    if (sides.low !== undefined && sides.low >= sides.top) return;
    this.change(sides);
  }
  zoomTo(logs) {
    const end = Math.max(...logs.map((log) => log.end)), top = Math.max(...logs.map((log) => log.top));
    this.change({ begin: undefined, end, low: undefined, top: top > 0 ? Number((1.05 * top).toPrecision(4)) : undefined });
  }
  addText(text, name) {
    const schedules = [...this.now.schedules, { text, name }];
    this.change({ schedules, active: schedules.length - 1, against: this.now.active });
  }
  remove(i) {
    const schedules = this.now.schedules.filter((_, j) => j !== i);
    const active = Math.min(this.now.active - (i < this.now.active ? 1 : 0), schedules.length - 1);
    const moved = (j) => (j === null || j === i ? null : j > i ? j - 1 : j);
    this.good.clear();
    this.schedules.hidden.clear();
    this.change({ schedules, active, against: moved(this.now.against) });
  }
  typed(i, text) {
    if (/^https?:\/\/[^#\s]+#.+$/.test(text.trim())) { // a link that was pasted
      this.typing = false;
      this.act("link", { link: text });
      return;
    }
    this.typing = true;
    this.change({ schedules: this.now.schedules.map((line, j) => (j === i ? { ...line, text } : line)) });
    clearTimeout(this.stopped);
    this.stopped = setTimeout(() => { this.typing = false; }, 800);
  }
  drag(handle, { at, value }, moving) {
    // Every place of a drag is a change of the text at its beginning, not of the text so far: rounding does not add up, and a
    // drag back to its beginning leaves the text as it was.
    if (!this.dragged) {
      const { begin, end, x, y } = this.answer;
      this.dragged = { state: this.now, axes: { begin, end, x, y } };
      this.typing = false;
    }
    this.askDrag({ state: this.dragged.state, handle: handle.id, at, value, moving }, performance.now());
  }
  nudge(handle, x, y) {
    // Arrow keys repeat faster than answers come: steps gather while a question is under way, and go out as one.
    this.steps = { handle: handle.id, x: (this.steps?.x || 0) + x, y: (this.steps?.y || 0) + y };
    if (this.nudging) return;
    this.nudging = (async () => {
      while (this.steps) {
        const steps = this.steps;
        this.steps = null;
        await this.act("nudge", steps);
      }
      this.nudging = null;
    })();
  }

  // --- undo and redo
  keep() {
    const now = performance.now(), together = this.typing && now - (this.kept || 0) < 1500 && this.past.length;
    if (!together) this.past.push(this.state); // a word that is typed is one step back, not one a letter
    this.kept = now;
    this.past.splice(0, this.past.length - 200);
    this.future = [];
  }
  async go(from, to) {
    if (!from.length) return;
    // The state goes to the other stack before it is replaced, so that undo and redo are each other's reverse.
    to.push(this.state);
    try {
      this.typing = false;
      this.good.clear();
      this.show(await ask("view", { state: from.pop() }), { remember: false });
    } catch (error) { message(error.message); }
  }
  back() { this.go(this.past, this.future); }
  forth() { this.go(this.future, this.past); }
  key(event) {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const key = event.key.toLowerCase(), redo = key === "y" || (key === "z" && event.shiftKey);
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (redo) this.forth(); else this.back();
  }

  async export(kind) {
    try { save(await (await post(`/api/export/${kind}`, JSON.stringify(this.state))).blob(), `schedules.${kind}`); } catch (error) { message(error.message); }
  }
}

new Studio().start(location.hash.slice(1));
