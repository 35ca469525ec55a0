// --- comparisons: what a store holds, sorted, hidden and drawn -------------------------------------------------------
class Stores {
  constructor(studio) {
    Object.assign(this, { studio, order: { by: "accuracy", down: true }, hidden: new Set(), seen: "" });
  }

  static COLUMNS = [["schedule", "schedule"], ["accuracy", "test accuracy"], ["test_loss", "test loss"], ["train_loss", "train loss"], ["seeds", "seeds"], ["failed", "failed"], ["seconds", "seconds"]];

  show(stores) {
    const seen = JSON.stringify(stores);
    if (seen === this.seen) return; // nothing new, and the reader's place stays
    this.seen = seen;
    this.stores = stores;
    this.paint();
  }

  paint() {
    const parts = [];
    for (const { place, groups, error } of this.stores) {
      parts.push(make("h3", {}, place));
      if (error) parts.push(make("p", { className: "wrong" }, error));
      else if (!groups.length) parts.push(make("p", { className: "quiet" }, "No trial has finished yet; this page looks again every three seconds."));
      for (const group of groups) parts.push(this.group(place, group));
    }
    const scrolled = byId("panel-stores").scrollTop;
    clear(byId("panel-stores"), ...parts.map((part) => part.element || part));
    byId("panel-stores").scrollTop = scrolled;
    for (const part of parts) part.drawn?.();
  }

  group(place, { title, rows, x, y, end }) {
    const { by, down } = this.order;
    const sorted = rows.map((row, i) => ({ ...row, i })).sort((a, b) => {
      if (a[by] === null || b[by] === null) return (a[by] === null) - (b[by] === null);
      return (a[by] < b[by] ? -1 : a[by] > b[by] ? 1 : 0) * (down ? -1 : 1);
    });
    const head = make("tr", {}, ...Stores.COLUMNS.map(([name, label]) => {
      const sort = `${place}|${title}|${name}`, button = make("button", { type: "button", textContent: label, data: { sort } });
      button.onclick = () => {
        this.order = { by: name, down: by === name ? !down : name !== "schedule" };
        this.paint();
        byId("panel-stores").querySelector(`[data-sort="${CSS.escape(sort)}"]`)?.focus(); // the table is a new one
      };
      const cell = make("th", { scope: "col" }, button);
      if (by === name) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      return cell;
    }));
    const key = (row) => `${place}|${title}|${row.schedule}`;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "chart");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `training loss by update, ${title}`);
    let chart = null, marked = null;
    const paint = () => chart.show({ begin: 0, end, x, y, curves: rows.map((row, i) => ({ ...row.curve, color: i, main: marked === i })).filter((_, i) => rows[i].curve && !this.hidden.has(key(rows[i]))) });
    const body = make("tbody", {}, ...sorted.map((row) => {
      const shown = make("input", { type: "checkbox", checked: !this.hidden.has(key(row)), aria: { label: `show ${row.schedule}` } });
      shown.onchange = () => { if (shown.checked) this.hidden.delete(key(row)); else this.hidden.add(key(row)); paint(); };
      const swatch = make("span", { className: "line-swatch" });
      swatch.style.background = `var(--c${row.i % 7})`;
      const open = make("button", { type: "button", textContent: "Edit", title: "Put this schedule among the schedules", aria: { label: `edit ${row.schedule}` } });
      open.onclick = () => this.studio.addText(row.schedule, "");
      const line = make("tr", {}, make("th", { scope: "row" }, make("span", {}, shown, " ", swatch, " ", make("code", {}, row.schedule), " ", open)),
        make("td", {}, row.accuracy_text || "–"), ...["test_loss", "train_loss", "seeds", "failed", "seconds"].map((name) => make("td", {}, short(row[name]))));
      line.onmouseenter = () => { marked = row.i; paint(); };
      line.onmouseleave = () => { marked = null; paint(); };
      return line;
    }));
    const table = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, make("thead", {}, head), body));
    const element = make("div", {}, make("p", { className: "over" }, title), table, make("div", {}, svg));
    return { element, drawn: () => { chart = new Chart(svg, { share: 0.5, least: 180, most: 380 }); paint(); } };
  }
}
