// The last hour as four charts (uPlot), with scaling, crashes and links marked. Each says in words what it shows.

import { clock, h, number, rate, say, wait } from "./page.js";

const HOUR_S = 3600;
const LEAST_S = 300;
const HEIGHT = 136;
const PALETTES = {
  light: ["#1f5fa8", "#b5532a", "#2a7a4b", "#7b4fa3", "#8f6a00", "#0f7f86"],
  dark: ["#7db3ee", "#eb9a72", "#74c794", "#c3a0e6", "#dcbf55", "#63c5cb"],
};
const MARKS = {
  scale: ["--accent", [4, 3]],
  link: ["--warn", [1, 3]], reload: ["--warn", [1, 3]], node: ["--warn", [1, 3]],
  crash: ["--bad", []], hung: ["--bad", []], fatal: ["--bad", []], rollback: ["--bad", []], spawner: ["--bad", []],
};
const dark = matchMedia("(prefers-color-scheme: dark)");
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// `lines`: of the rows and classes, what to draw: [name, row -> value]
const CHARTS = [
  {
    title: "Messages a second",
    show: rate,
    lines: () => [["in", (row) => row.into], ["out", (row) => row.out]],
  },
  {
    title: "Queue depth",
    show: number,
    lines: (classes) => classes.map((name) => [name, (row) => row.ready[name] ?? null]),
  },
  {
    title: "Waiting time",
    logarithmic: true, // half of them wait a hundredth of what the last one does
    show: wait,
    lines: () => [["half of them (p50)", (row) => row.p50], ["99 of 100 (p99)", (row) => row.p99]],
  },
  {
    title: "Workers running",
    show: number,
    stepped: true,
    lines: (classes) => classes.map((name) => [name, (row) => row.workers[name] ?? null]),
  },
];

export class Charts {
  constructor(place) {
    this.rows = [];
    this.marks = [];
    this.classes = [];
    this.charts = CHARTS.map((what) => new Chart(what, this, place));
    dark.addEventListener("change", () => this.rebuild());
    new ResizeObserver(() => this.charts.forEach((chart) => chart.resize())).observe(place);
  }

  // All that the server remembers.
  async load() {
    try {
      const answer = await fetch("/history", { cache: "no-store" });
      const found = await answer.json();
      const last = found.rows.at(-1)?.at ?? 0;
      this.rows = [...found.rows, ...this.rows.filter((row) => row.at > last)];
      // What an earlier master has told this page stays.
      const known = new Map([...this.marks, ...found.marks].map((mark) => [`${mark.at.toFixed(1)} ${mark.text}`, mark]));
      this.marks = [...known.values()];
      this.draw();
    } catch {
      // The stream says that the server is lost; when it is back, this is called again.
    }
  }

  row(row) {
    if (row.at > (this.rows.at(-1)?.at ?? 0)) this.rows.push(row);
    const first = row.at - HOUR_S;
    this.rows = this.rows.filter((old) => old.at >= first);
    this.marks = this.marks.filter((mark) => mark.at >= first);
    if (!document.hidden) this.draw();
  }

  happened(events) {
    this.marks.push(...events.filter((event) => event.kind in MARKS).map((event) => ({ ...event, at: event.time })));
  }

  setClasses(names) {
    if (names.join("\n") !== this.classes.join("\n")) {
      this.classes = names;
      this.rebuild();
    }
  }

  rebuild() {
    this.charts.forEach((chart) => chart.forget());
    this.draw();
  }

  draw() {
    if (this.classes.length) this.charts.forEach((chart) => chart.draw());
  }
}

class Chart {
  constructor(what, all, place) {
    this.what = what;
    this.all = all;
    this.keys = h("p", { class: "keys", "aria-hidden": "true" });
    this.caption = h("figcaption", { class: "unseen" }, "Nothing is known yet.");
    this.plot = h("div", { class: "plot", "aria-hidden": "true" });
    place.append(h("figure", { class: "chart", "aria-label": what.title }, h("h3", {}, what.title), this.keys, this.plot, this.caption));
  }

  forget() {
    this.uplot?.destroy();
    this.uplot = null;
  }

  resize() {
    this.uplot?.setSize({ width: this.plot.clientWidth, height: HEIGHT });
  }

  draw() {
    const { rows, classes } = this.all;
    this.lines = this.what.lines(classes);
    const data = [rows.map((row) => row.at), ...this.lines.map(([, value]) => rows.map(value))];
    if (this.uplot) this.uplot.setData(data);
    else this.uplot = new uPlot(this.options(), data, this.plot);
    this.legend(null);
    say(this.caption, this.words());
  }

  options() {
    const palette = PALETTES[dark.matches ? "dark" : "light"];
    this.colours = this.lines.map((_, index) => palette[index % palette.length]);
    const font = `11px ${style("--sans")}`;
    const axis = { stroke: style("--soft"), font, ticks: { show: false }, grid: { stroke: style("--line-soft"), width: 1 } };
    return {
      width: this.plot.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: "hour" }, y: false, points: { size: 5 }, drag: { x: false } },
      scales: {
        x: { range: span },
        y: this.what.logarithmic
          ? { distr: 3, range: (_, min, max) => [10 ** Math.floor(Math.log10(min || 0.001)), 10 ** Math.ceil(Math.log10((max || 0.05) * 1.05))] }
          : { range: (_, __, max) => [0, Math.max(max ?? 0, 1) * 1.1] },
      },
      axes: [
        { ...axis, space: 70, size: 24, values: (_, splits) => splits.map((unix) => clock(unix).slice(0, 5)) },
        { ...axis, ...(this.what.logarithmic ? { splits: decades, filter: (_, splits) => splits } : {}), space: 28, size: 52, values: (_, splits) => splits.map((value) => (this.what.stepped && value % 1 ? "" : this.label(value))) },
      ],
      series: [{}, ...this.lines.map(([name], index) => ({
        label: name,
        stroke: this.colours[index],
        width: 1.75,
        points: { show: false },
        paths: this.what.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
      }))],
      hooks: { drawAxes: [(u) => this.drawMarks(u)], setCursor: [(u) => this.legend(u.cursor.idx)] },
    };
  }

  label(value) {
    if (value == null) return "";
    return this.what.show === rate ? (value % 1 ? value.toFixed(1) : number(value)) : this.what.show(value);
  }

  drawMarks(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.globalAlpha = 0.7;
    ctx.lineWidth = devicePixelRatio;
    for (const mark of this.all.marks) {
      const [colour, dashes] = MARKS[mark.kind];
      const x = Math.round(u.valToPos(mark.at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = style(colour);
      ctx.setLineDash(dashes.map((length) => length * devicePixelRatio));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  legend(index) {
    const { rows } = this.all;
    const row = index == null ? rows.at(-1) : rows[index];
    const parts = this.lines.map(([name, value], line) => {
      const key = h("i");
      key.style.color = this.colours[line];
      return h("span", {}, key, `${name} `, h("b", {}, row ? this.what.show(value(row)) : "–"));
    });
    if (index != null && row) {
      const near = this.all.marks.filter((mark) => Math.abs(mark.at - row.at) <= 5).map((mark) => mark.text);
      parts.push(h("span", {}, [clock(row.at), ...near].join(" · ")));
    }
    this.keys.replaceChildren(...parts);
  }

  words() {
    const { rows } = this.all;
    if (!rows.length) return "The first figures come in a few seconds.";
    const parts = this.lines.map(([name, value]) => {
      const known = rows.map(value).filter((found) => found != null);
      return known.length ? `${name}: now ${this.what.show(value(rows.at(-1)))}, most ${this.what.show(Math.max(...known))}` : `${name}: none`;
    });
    return parts.join("; ");
  }
}

function decades(u) {
  const { min, max } = u.scales.y;
  const first = Math.round(Math.log10(min ?? 0.001));
  return Array.from({ length: Math.round(Math.log10(max ?? 1)) - first + 1 }, (_, index) => 10 ** (first + index));
}

function span(_, first, last) {
  const end = last ?? Date.now() / 1000;
  return [Math.max(end - HOUR_S, Math.min(first ?? end, end - LEAST_S)), end];
}
