"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const draw = (parent, tag, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return parent.appendChild(element);
  };
  const short = (x) => String(Number(x.toPrecision(4)));

  // --- the command ---------------------------------------------------------------------------------------------------
  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { // an older browser, or a page that may not
      const area = document.body.appendChild(make("textarea", { value: text }));
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  };
  for (const button of all(".command button")) {
    button.hidden = false;
    button.onclick = async () => {
      const done = await copied(button.previousElementSibling.textContent);
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      if (!done) getSelection().selectAllChildren(button.previousElementSibling);
    };
  }

  // --- tables: up, down, and as they were ----------------------------------------------------------------------------
  for (const table of all("table.sortable")) {
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    const key = (row, column) => {
      const cell = row.cells[column], text = cell.dataset.value ?? cell.textContent.trim();
      return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : "value" in cell.dataset ? null : text;
    };
    heads.forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const numbers = rows.some((row) => typeof key(row, column) === "number");
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.onclick = () => {
        const order = numbers ? ["descending", "ascending"] : ["ascending", "descending"];
        const next = order[order.indexOf(head.getAttribute("aria-sort")) + 1];
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        const sorted = [...rows];
        if (next) {
          head.setAttribute("aria-sort", next);
          const sign = next === "ascending" ? 1 : -1;
          sorted.sort((a, b) => {
            const [x, y] = [key(a, column), key(b, column)];
            if (x === null || y === null) return (x === null) - (y === null);
            return sign * (typeof x === typeof y && typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
          });
        }
        body.append(...sorted);
      };
    });
  }

  // --- curves: hidden, picked out ------------------------------------------------------------------------------------
  const hidden = new Set(), charts = [];
  const pick = (i) => {
    for (const svg of all("[data-curves] > svg")) svg.classList.toggle("picked", i !== null);
    for (const curve of all("svg [data-curve]")) curve.classList.toggle("picked", curve.dataset.curve === String(i));
    for (const item of all("li[data-curve], tr[data-curve]")) item.classList.toggle("highlit", item.dataset.curve === String(i));
  };
  const update = () => {
    for (const curve of all("svg [data-curve]")) curve.classList.toggle("hidden", hidden.has(curve.dataset.curve));
    for (const item of items) item.firstChild.setAttribute("aria-pressed", String(!hidden.has(item.dataset.curve)));
    charts.forEach((chart) => chart.clear());
  };
  const items = all(".legend li[data-curve]");
  const only = (kept) => {
    items.forEach((item) => (kept(item.dataset.curve) ? hidden.delete(item.dataset.curve) : hidden.add(item.dataset.curve)));
    update();
  };
  for (const item of items) {
    const i = item.dataset.curve, button = make("button", { type: "button", ariaPressed: "true" }, ...item.childNodes);
    item.append(button);
    button.onclick = () => { hidden.delete(i) || hidden.add(i); update(); };
    button.ondblclick = () => only((other) => other === i);
  }
  for (const item of all("li[data-curve], tr[data-curve]")) {
    item.addEventListener("pointerenter", () => pick(item.dataset.curve));
    item.addEventListener("pointerleave", () => pick(null));
  }
  for (const legend of all(".legend")) {
    const word = "Point at a curve to read it, or use the arrow keys; drag to enlarge, double-click to see all again. A click on a " +
      "name hides its curve, a double-click leaves that curve alone.";
    const button = (text, kept) => make("button", { type: "button", textContent: text, onclick: () => only(kept) });
    legend.after(make("div", { className: "controls" }, make("span", { textContent: word }),
      button("Show all", () => true), button("Hide all", () => false)));
  }

  // --- a picture: read out and enlarged ------------------------------------------------------------------------------
  const nice = (low, high, most, whole) => {
    const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
    let step = [1, 2, 5, 10].find((k) => k * power >= raw) * power;
    if (whole) step = Math.max(step, 1);
    const ticks = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(Number((k * step).toPrecision(12)));
    return ticks;
  };

  const touch = (figure, svg, facts, panel) => {
    const [left, top, right, bottom] = panel.box, home = { x: panel.x, y: panel.y };
    let view = { ...home }, active = null, from = null, ticks = null;
    const tip = figure.querySelector(".tip");
    const toX = (x) => left + ((x - view.x[0]) / (view.x[1] - view.x[0])) * (right - left);
    const toY = (y) => bottom - ((y - view.y[0]) / (view.y[1] - view.y[0])) * (bottom - top);
    const atX = (px) => view.x[0] + ((px - left) / (right - left)) * (view.x[1] - view.x[0]);
    const atY = (px) => view.y[0] + ((bottom - px) / (bottom - top)) * (view.y[1] - view.y[0]);
    const point = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const inside = (p) => p.x >= left - 4 && p.x <= right + 4 && p.y >= top - 4 && p.y <= bottom + 4;
    const value = (y) => (panel.percent ? `${short(100 * y)}%` : short(y));
    const shown = () => panel.curves.filter((curve) => !hidden.has(String(curve.i)) && curve.x.length);

    // All of the axes' curves move together behind one window that stays.
    const axes = svg.querySelectorAll("g[id*='axes_']")[panel.axes], curves = all("[data-curve]", axes);
    const frames = [1.5, 6].map((margin, k) => { // the second for marks, which may stand on the edge
      const clip = `${axes.id}-window-${k}`, frame = document.createElementNS(svg.namespaceURI, "g");
      draw(draw(svg, "clipPath", { id: clip }), "rect",
        { x: left - margin, y: top - margin, width: right - left + 2 * margin, height: bottom - top + 2 * margin });
      frame.setAttribute("clip-path", `url(#${clip})`);
      curves[0].before(frame);
      return frame;
    });
    const moved = frames.map((frame) => draw(frame, "g", {})), marks = curves.flatMap((curve) => all("use", curve));
    for (const curve of curves) {
      all("[clip-path]", curve).forEach((part) => part.removeAttribute("clip-path"));
      moved[curve.querySelector("use") ? 1 : 0].append(curve);
    }
    const over = draw(svg, "g", {});

    const zoom = (x, y) => {
      const clamp = ([low, high], [least, most]) => [Math.max(Math.min(low, high), least), Math.min(Math.max(low, high), most)];
      const wanted = { x: clamp(x, home.x), y: clamp(y, home.y) };
      if (wanted.x[1] - wanted.x[0] < 1e-6 * (home.x[1] - home.x[0])) return;
      if (wanted.y[1] - wanted.y[0] < 1e-6 * (home.y[1] - home.y[0])) return;
      view = wanted;
      const [kx, ky] = ["x", "y"].map((d) => (home[d][1] - home[d][0]) / (view[d][1] - view[d][0]));
      const enlarged = kx > 1 || ky > 1;
      const transform = `translate(${toX(home.x[0]) - left * kx} ${toY(home.y[1]) - top * ky}) scale(${kx} ${ky})`;
      moved.forEach((group) => group.setAttribute("transform", transform));
      for (const mark of marks) { // keeps its size
        const [mx, my] = [mark.x.baseVal.value, mark.y.baseVal.value];
        mark.setAttribute("transform", `translate(${mx} ${my}) scale(${1 / kx} ${1 / ky}) translate(${-mx} ${-my})`);
      }
      all("[id*='tick_']", axes).forEach((tick) => tick.classList.toggle("hidden", enlarged));
      ticks?.remove();
      ticks = null;
      back.hidden = !enlarged;
      if (!enlarged) return;
      ticks = document.createElementNS(svg.namespaceURI, "g");
      ticks.setAttribute("class", "ticks");
      frames[0].before(ticks);
      for (const t of nice(...view.x, 6, facts.per === null)) {
        draw(ticks, "line", { x1: toX(t), x2: toX(t), y1: top, y2: bottom });
        draw(ticks, "text", { x: toX(t), y: bottom + 15, "text-anchor": "middle" }, short(t));
      }
      for (const t of nice(...view.y, 6)) {
        draw(ticks, "line", { x1: left, x2: right, y1: toY(t), y2: toY(t) });
        draw(ticks, "text", { x: left - 6, y: toY(t) + 4, "text-anchor": "end" }, value(t));
      }
    };
    const back = make("button", { type: "button", textContent: "See all", hidden: true, onclick: () => { clear(); zoom(home.x, home.y); } });
    figure.querySelector("figcaption").append(back);

    const index = (curve, x) => { // of the value at x: of steps the one before, else the nearest
      let low = 0, high = curve.x.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        curve.x[middle] <= x ? (low = middle) : (high = middle - 1);
      }
      return !curve.steps && low + 1 < curve.x.length && curve.x[low + 1] - x < x - curve.x[low] ? low + 1 : low;
    };
    const clear = () => {
      if (active === null) return;
      active = null;
      over.replaceChildren();
      tip.replaceChildren();
      pick(null);
    };
    const show = (curve, k, x = curve.x[k]) => {
      active = { curve, k };
      const [px, py] = [toX(x), toY(curve.y[k])];
      over.replaceChildren();
      draw(over, "line", { class: "crosshair", x1: px, x2: px, y1: top, y2: bottom });
      draw(over, "circle", { class: "dot", cx: px, cy: py, r: 3.5 });
      const count = x === curve.x[k] ? Math.round(x * facts.per) : Math.floor(x * facts.per);
      const at = facts.per === null ? "" : `update ${count.toLocaleString("en")}, `;
      tip.replaceChildren(make("b", { textContent: curve.name }),
        make("span", { textContent: `${at}${facts.unit} ${short(x)}: ${value(curve.y[k])}` }));
      const box = svg.getBoundingClientRect(), around = figure.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
      const tx = box.left - around.left + figure.scrollLeft + px * scale, ty = box.top - around.top + py * scale;
      const room = figure.scrollLeft + around.width - tip.offsetWidth - 6;
      tip.style.left = `${Math.max(4, tx + 14 > room ? Math.min(tx - tip.offsetWidth - 14, room) : tx + 14)}px`;
      tip.style.top = `${Math.max(4, ty - tip.offsetHeight - 10)}px`;
      pick(String(curve.i));
    };
    const nearest = (p) => {
      let best = null;
      for (const curve of shown()) {
        const x = Math.min(Math.max(atX(p.x), curve.x[0]), curve.x[curve.x.length - 1]), k = index(curve, x);
        const shownX = curve.steps ? x : curve.x[k], distance = Math.hypot(toX(shownX) - p.x, toY(curve.y[k]) - p.y);
        if (best === null || distance < best.distance) best = { curve, k, x: shownX, distance };
      }
      return best;
    };

    const drag = (p) => ({
      x: [Math.max(left, Math.min(from.x, p.x)), Math.min(right, Math.max(from.x, p.x))],
      y: from.touch || Math.abs(p.y - from.y) < 8 ? [top, bottom] : [Math.max(top, Math.min(from.y, p.y)), Math.min(bottom, Math.max(from.y, p.y))],
    });
    svg.addEventListener("pointerdown", (event) => {
      const p = point(event);
      if (event.button || !inside(p)) return;
      from = { x: p.x, y: p.y, touch: event.pointerType === "touch" };
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      const p = point(event);
      if (from === null || Math.abs(p.x - from.x) < 6) {
        const found = inside(p) ? nearest(p) : null;
        found ? show(found.curve, found.k, found.x) : clear();
        return;
      }
      clear();
      const { x, y } = drag(p);
      over.replaceChildren();
      draw(over, "rect", { class: "frame", x: x[0], y: y[0], width: x[1] - x[0], height: y[1] - y[0] });
    });
    svg.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const p = point(event), { x, y } = drag(p), moving = Math.abs(p.x - from.x) >= 6;
      from = null;
      if (moving) {
        over.replaceChildren();
        zoom([atX(x[0]), atX(x[1])], [atY(y[1]), atY(y[0])]);
      } else {
        const found = inside(p) ? nearest(p) : null;
        if (found) show(found.curve, found.k, found.x);
      }
    });
    svg.addEventListener("pointercancel", () => { from = null; over.replaceChildren(); });
    svg.addEventListener("pointerleave", () => { if (from === null) clear(); });
    svg.addEventListener("dblclick", (event) => { if (inside(point(event))) { clear(); zoom(home.x, home.y); } });

    return {
      clear,
      key(name) {
        const there = shown();
        if (!there.length) return false;
        const { curve, k } = active ?? { curve: there[0], k: index(there[0], view.x[0]) };
        const step = { ArrowLeft: -1, ArrowRight: 1 }[name], other = { ArrowUp: -1, ArrowDown: 1 }[name];
        const factor = { "+": 0.5, "=": 0.5, "-": 2 }[name];
        if (step) show(curve, Math.min(Math.max(k + (active ? step : 0), 0), curve.x.length - 1));
        else if (other) {
          const next = active ? there[(there.indexOf(curve) + other + there.length) % there.length] : curve;
          show(next, index(next, curve.x[k]));
        } else if (factor) {
          const around = ([low, high], [least, most], c) => {
            const width = Math.min((high - low) * factor, most - least), begin = Math.min(Math.max(c - width / 2, least), most - width);
            return [begin, begin + width];
          };
          zoom(around(view.x, home.x, curve.x[k]), around(view.y, home.y, curve.y[k]));
          show(curve, k);
        } else if (name === "Escape" || name === "0") { clear(); zoom(home.x, home.y); } else return false;
        return true;
      },
    };
  };

  for (const figure of all("figure[data-curves]")) {
    const facts = JSON.parse(figure.dataset.curves), svg = figure.querySelector("svg");
    figure.append(make("div", { className: "tip", role: "status" }));
    const own = facts.panels.map((panel) => touch(figure, svg, facts, panel));
    charts.push(...own);
    svg.tabIndex = 0;
    svg.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.altKey && own[0].key(event.key)) event.preventDefault();
    });
    svg.addEventListener("blur", () => own.forEach((chart) => chart.clear()));
  }
})();
