// --- a chart: curves that the server has computed, in an SVG ---------------------------------------------------------
const SVG = "http://www.w3.org/2000/svg";
const draw = (parent, tag, attributes = {}, text = "") => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return parent.appendChild(element);
};
const DASHES = ["", "6 3", "2 2", "6 2 2 2"];

class Chart {
  constructor(svg, { share = 0.46, least = 220, most = 560 } = {}) {
    Object.assign(this, { svg, share, least, most, content: null });
    new ResizeObserver(() => this.content && this.show(this.content)).observe(svg.parentElement);
  }

  x(at) { return this.left + (this.right - this.left) * at / this.content.updates; }
  y(value) {
    const { low, top, log } = this.content.y;
    const share = log ? Math.log(Math.max(value, low) / low) / Math.log(top / low) : (value - low) / (top - low);
    return this.bottom - (this.bottom - this.top) * share;
  }
  // From the pointer to a place, by the axes as they are drawn.
  place(clientX, clientY) {
    const box = this.svg.getBoundingClientRect(), scale = this.width / box.width;
    const px = (clientX - box.left) * scale, py = (clientY - box.top) * scale;
    const { low, top, log } = this.content.y, share = (this.bottom - py) / (this.bottom - this.top);
    return {
      at: Math.max(0, (px - this.left) / (this.right - this.left) * this.content.updates),
      value: log ? low * (top / low) ** share : low + share * (top - low),
    };
  }

  show(content) {
    this.content = content;
    const { svg } = this;
    this.width = Math.max(240, svg.parentElement.clientWidth);
    this.height = Math.round(Math.min(this.most, Math.max(this.least, this.width * this.share)));
    const longest = Math.max(3, ...content.y.ticks.map(({ label }) => label.length));
    Object.assign(this, { left: 20 + 7.2 * longest, right: this.width - 22, top: 14, bottom: this.height - 34 });
    svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    const layer = document.createElementNS(SVG, "g");
    this.axes(layer, content);
    if (content.band) this.band(layer, content.band);
    for (const curve of content.curves) this.curve(layer, curve);
    for (const dots of content.dots || []) this.dots(layer, dots);
    this.cursor = draw(layer, "line", { class: "cursor", y1: this.top, y2: this.bottom, visibility: "hidden" });
    // Handles stay where they are: one may be under the pointer, or have the focus.
    this.layer?.remove();
    this.layer = layer;
    svg.prepend(layer);
  }

  axes(layer, { x, y, updates }) {
    const grid = draw(layer, "g", { class: "grid" });
    for (const { at, label } of y.ticks) {
      draw(grid, "line", { x1: this.left, x2: this.right, y1: this.y(at), y2: this.y(at) });
      draw(grid, "text", { x: this.left - 12, y: this.y(at) + 4, "text-anchor": "end" }, label);
    }
    const room = Math.max(1, Math.ceil(x.ticks.length * 62 / (this.right - this.left)));
    x.ticks.forEach(({ at, label }, i) => {
      if (i % room || at > updates * 1.0001) return;
      draw(grid, "line", { x1: this.x(at), x2: this.x(at), y1: this.bottom, y2: this.bottom + 5 });
      draw(grid, "text", { x: this.x(at), y: this.bottom + 18, "text-anchor": "middle" }, label);
    });
    draw(grid, "text", { x: this.right, y: this.height - 3, "text-anchor": "end", class: "unit" }, x.unit);
  }

  path({ updates, values, steps }) {
    let path = "";
    for (let i = 0; i < updates.length; i++) {
      const x = this.x(updates[i]).toFixed(1), y = this.y(values[i]).toFixed(1);
      path += i === 0 ? `M${x} ${y}` : steps ? `H${x}V${y}` : `L${x} ${y}`;
    }
    return path;
  }

  curve(layer, curve) {
    if (!curve.updates?.length) return;
    const look = { class: `curve${curve.stale ? " stale" : ""}${curve.main ? " main" : ""}`, d: this.path(curve), stroke: `var(--c${curve.color % 7})` };
    const dash = DASHES[Math.floor(curve.color / 7) % DASHES.length];
    draw(layer, "path", dash ? { ...look, "stroke-dasharray": dash } : look);
  }

  band(layer, { updates, low, high }) {
    const there = updates.map((t, i) => `${this.x(t).toFixed(1)} ${this.y(high[i]).toFixed(1)}`);
    const back = updates.map((t, i) => `${this.x(t).toFixed(1)} ${this.y(low[i]).toFixed(1)}`).reverse();
    draw(layer, "path", { class: "band", d: `M${[...there, ...back].join("L")}Z` });
  }

  dots(layer, { updates, values, color }) {
    const group = draw(layer, "g", { class: "dots", fill: `var(--c${color % 7})` });
    for (let i = 0; i < updates.length; i++) {
      const x = this.x(updates[i]), y = this.y(values[i]);
      if (x <= this.right + 1) draw(group, "circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 2.2 });
    }
  }

  // The last point of a curve at or before an update.
  static point({ updates }, at) {
    let low = 0, high = updates.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (updates[middle] <= at) low = middle; else high = middle - 1;
    }
    return low;
  }

  point_to(at) {
    if (at === null) { this.cursor?.setAttribute("visibility", "hidden"); return; }
    const x = this.x(at).toFixed(1);
    for (const [name, value] of [["x1", x], ["x2", x], ["visibility", "visible"]]) this.cursor.setAttribute(name, value);
  }
}

// --- handles -----------------------------------------------------------------------------------------------------------
class Handles {
  constructor(chart, { moved, dropped, nudged }) {
    Object.assign(this, { chart, moved, dropped, nudged, drag: null });
    window.addEventListener("pointermove", (event) => this.drag && this.move(event));
    window.addEventListener("pointerup", (event) => this.drag && this.end(event));
    window.addEventListener("pointercancel", (event) => this.drag && this.end(event));
  }

  show(handles) {
    const { svg } = this.chart;
    const focused = document.activeElement?.closest?.("g.handle")?.dataset.key;
    const layer = svg.querySelector("g.handles") || draw(svg, "g", { class: "handles" });
    layer.replaceChildren();
    handles.forEach((handle, i) => {
      const x = this.chart.x(Math.min(handle.at, this.chart.content.updates)), y = this.chart.y(handle.value);
      const kinds = `${handle.x ? " moves-x" : ""}${handle.y ? " moves-y" : ""}`;
      const group = draw(layer, "g", {
        class: `handle${kinds}`, tabindex: 0, role: "slider", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
        "aria-label": [handle.x, handle.y].filter(Boolean).join(" and "), "aria-valuetext": `${handle.label}, at update ${counted(Math.round(handle.at))}`,
        "aria-valuenow": handle.x ? handle.at : handle.value, "aria-valuemin": 0,
        "aria-orientation": handle.x ? "horizontal" : "vertical",
      });
      group.dataset.key = `${handle.x}|${handle.y}|${handles.filter((h, j) => j < i && h.x === handle.x && h.y === handle.y).length}`;
      group.dataset.handle = handle.id;
      draw(group, "circle", { class: "touch", r: 18 });
      draw(group, "circle", { class: "knob", r: 7 });
      draw(group, "title", {}, handle.label);
      group.addEventListener("pointerdown", (event) => this.begin(event, handle));
      group.addEventListener("keydown", (event) => this.key(event, handle));
      if (group.dataset.key === focused) group.focus({ preventScroll: true });
    });
  }

  begin(event, handle) {
    if (event.button) return;
    event.preventDefault();
    event.currentTarget.focus({ preventScroll: true });
    this.drag = { handle, moved: false };
  }
  move(event) {
    this.drag.moved = true;
    event.preventDefault();
    this.moved(this.drag.handle, this.chart.place(event.clientX, event.clientY));
  }
  end(event) {
    const { handle, moved } = this.drag;
    this.drag = null;
    if (moved) this.dropped(handle, this.chart.place(event.clientX, event.clientY));
  }
  key(event, handle) {
    const step = event.shiftKey ? 10 : 1;
    const [x, y] = { ArrowRight: [step, 0], ArrowLeft: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key] || [];
    if (x === undefined) return;
    event.preventDefault();
    this.nudged(handle, x, y);
  }
}
