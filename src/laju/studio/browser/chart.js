// --- a chart: curves that the server has computed, in an SVG ---------------------------------------------------------
const SVG = "http://www.w3.org/2000/svg";
const draw = (parent, tag, attributes = {}, text = "") => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return parent.appendChild(element);
};
let charts = 0;
const DASHES = ["", "6 3", "2 2", "6 2 2 2"];

class Chart {
  constructor(svg, { share = 0.46, least = 220, most = 560 } = {}) {
    Object.assign(this, { svg, share, least, most, content: null, clip: `clip-${charts++}` });
    new ResizeObserver(() => this.content && this.show(this.content)).observe(svg.parentElement);
  }

  x(at) {
    const { begin, end } = this.content;
    return this.left + (this.right - this.left) * (at - begin) / (end - begin);
  }
  y(value) {
    const { low, top, log } = this.content.y;
    const share = log ? Math.log(Math.max(value, low) / low) / Math.log(top / low) : (value - low) / (top - low);
    return this.bottom - (this.bottom - this.top) * share;
  }
  // From the pointer to a place, by the axes as they are drawn.
  place(event) { return this.there(this.pixel(event)); }
  pixel({ clientX, clientY }) {
    const box = this.svg.getBoundingClientRect(), scale = this.width / box.width;
    return { x: (clientX - box.left) * scale, y: (clientY - box.top) * scale };
  }
  there({ x, y }) {
    const { begin, end, y: { low, top, log } } = this.content, share = (this.bottom - y) / (this.bottom - this.top);
    return {
      at: Math.max(0, begin + (x - this.left) / (this.right - this.left) * (end - begin)),
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
    // A zoom leaves parts of curves outside of the axes.
    const clip = draw(draw(layer, "defs"), "clipPath", { id: this.clip });
    draw(clip, "rect", { x: this.left - 3, y: this.top - 5, width: this.right - this.left + 6, height: this.bottom - this.top + 8 });
    const inside = draw(layer, "g", { "clip-path": `url(#${this.clip})` });
    if (content.band?.updates.length) this.band(inside, content.band);
    for (const curve of content.curves) this.curve(inside, curve);
    for (const dots of content.dots || []) this.dots(inside, dots);
    this.cursor = draw(layer, "line", { class: "cursor", y1: this.top, y2: this.bottom, visibility: "hidden" });
    // Handles stay where they are: one may be under the pointer, or have the focus.
    this.layer?.remove();
    this.layer = layer;
    svg.prepend(layer);
  }

  axes(layer, { x, y, end }) {
    const grid = draw(layer, "g", { class: "grid" });
    for (const { at, label } of y.ticks) {
      draw(grid, "line", { x1: this.left, x2: this.right, y1: this.y(at), y2: this.y(at) });
      draw(grid, "text", { x: this.left - 12, y: this.y(at) + 4, "text-anchor": "end" }, label);
    }
    const room = Math.max(1, Math.ceil(x.ticks.length * 62 / (this.right - this.left)));
    x.ticks.forEach(({ at, label }, i) => {
      if (i % room || at > end * 1.0001) return;
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
      draw(group, "circle", { cx: this.x(updates[i]).toFixed(1), cy: this.y(values[i]).toFixed(1), r: Math.max(2.2, this.width / 600).toFixed(1) });
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

  // A handle stays the same element while its numbers change: the focus stays, and a screen reader says the new value alone.
  show(handles) {
    const { svg } = this.chart, layer = svg.querySelector("g.handles") || draw(svg, "g", { class: "handles" });
    const { begin, end, y: { low, top, log } } = this.chart.content, room = 0.02 * (top - low);
    const before = new Map([...layer.children].map((group) => [group.dataset.key, group])), count = {}, all = [];
    for (const handle of handles) {
      const out = handle.at < begin || handle.at > end || handle.value > top + room || (!log && handle.value < low - room);
      const name = [handle.x, handle.y].filter(Boolean).join(" and "), number = count[name] = (count[name] || 0) + 1;
      if (out && handle.id !== this.drag?.handle.id) continue; // a zoom shows other parts of the picture; what is dragged stays
      const key = `${name} ${number}`, group = before.get(key) || this.knob(layer, key);
      before.delete(key);
      const x = this.chart.x(Math.min(Math.max(handle.at, begin), end)), y = this.chart.y(Math.min(Math.max(handle.value, low), top));
      const now = {
        class: `handle${handle.x ? " moves-x" : ""}${handle.y ? " moves-y" : ""}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
        "aria-label": number > 1 ? key : name, "aria-valuetext": `${handle.label}, at update ${counted(Math.round(handle.at))}`,
        "aria-orientation": handle.x ? "horizontal" : "vertical", "aria-valuenow": handle.x ? handle.at : handle.value,
        "aria-valuemin": handle.x ? 0 : Math.min(low, handle.value), "aria-valuemax": handle.x ? Math.max(end, handle.at) : Math.max(top, handle.value),
      };
      for (const [attribute, value] of Object.entries(now)) group.setAttribute(attribute, value);
      group.lastChild.textContent = handle.label;
      group.lastChild.setAttribute("text-anchor", x > 0.75 * this.chart.right ? "end" : x < 0.25 * this.chart.right ? "start" : "middle");
      group.lastChild.setAttribute("y", y < this.chart.top + 24 ? 26 : -15);
      group.handle = handle;
      all.push(group);
    }
    for (const group of before.values()) group.remove();
    // The order of Tab is that of the updates; the element with the focus is not moved, as a move would take the focus.
    const still = all.indexOf(document.activeElement);
    all.forEach((group, i) => { if (i < still) all[still].before(group); else if (i > still) layer.append(group); });
  }
  knob(layer, key) {
    const group = draw(layer, "g", { tabindex: 0, role: "slider" });
    group.dataset.key = key;
    draw(group, "circle", { class: "touch", r: 18 });
    draw(group, "circle", { class: "knob", r: 7 });
    draw(group, "text", { y: -15 });
    group.addEventListener("pointerdown", (event) => this.begin(event, group.handle));
    group.addEventListener("keydown", (event) => this.key(event, group.handle));
    return group;
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
    this.moved(this.drag.handle, this.chart.place(event));
  }
  end(event) {
    const { handle, moved } = this.drag;
    this.drag = null;
    if (moved) this.dropped(handle, this.chart.place(event));
  }
  key(event, handle) {
    const step = event.shiftKey ? 10 : 1;
    const [x, y] = { ArrowRight: [step, 0], ArrowLeft: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key] || [];
    if (x === undefined) return;
    event.preventDefault();
    this.nudged(handle, x, y);
  }
}

// --- zooming: a part of the picture, by a drag over its background ---------------------------------------------------
class Zoom {
  constructor(chart, zoomed) {
    const { svg } = chart;
    let from = null, frame = null;
    const stop = () => { from = null; frame?.remove(); frame = null; };
    // The frame in pixels: a drag along one axis leaves the other as it is.
    const framed = (event) => {
      const to = chart.pixel(event), between = (a, b, low, high) => [Math.min(a, b), Math.max(a, b)].map((v) => Math.min(Math.max(v, low), high));
      const x = between(from.x, to.x, chart.left, chart.right), y = between(from.y, to.y, chart.top, chart.bottom);
      const wide = x[1] - x[0] >= 12, high = y[1] - y[0] >= 24;
      return { wide, high, x: wide ? x : [chart.left, chart.right], y: high ? y : [chart.top, chart.bottom] };
    };
    svg.addEventListener("pointerdown", (event) => {
      if (event.button || event.pointerType === "touch" || event.target.closest("g.handle")) return;
      event.preventDefault();
      from = chart.pixel(event);
    });
    window.addEventListener("pointermove", (event) => {
      if (!from) return;
      const { x, y, wide, high } = framed(event);
      frame ||= draw(svg, "rect", { class: "zoom-frame" });
      const sides = { x: x[0], y: y[0], width: x[1] - x[0], height: y[1] - y[0], visibility: wide || high ? "visible" : "hidden" };
      for (const [name, value] of Object.entries(sides)) frame.setAttribute(name, value);
    });
    window.addEventListener("pointerup", (event) => {
      if (!from) return;
      const { x, y, wide, high } = framed(event);
      stop();
      const low = chart.there({ x: x[0], y: y[1] }), top = chart.there({ x: x[1], y: y[0] });
      if (wide || high) zoomed({ ...(wide && { begin: low.at, end: top.at }), ...(high && { low: low.value, top: top.value }) });
    });
    window.addEventListener("pointercancel", stop);
    window.addEventListener("keydown", (event) => { if (event.key === "Escape") stop(); });
    svg.addEventListener("dblclick", (event) => { if (!event.target.closest("g.handle")) zoomed(null); });
  }
}
