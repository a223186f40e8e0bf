// One equity curve: fetched as decimal strings, drawn by uPlot. A missing reading is a gap, never a zero or a bridge.
import uPlot from "uplot";
import { axisTimes, compactAmount, exactAmount, fullTime, percent } from "./chart-format.js";

const RELOAD_EVERY = 5000; // ms: a curve gains little from being fetched more often
const TABLE_ROWS = 50;

/** Colours come from the style sheet, so that the curve follows light and dark like everything else. */
function colours(element) {
  const style = getComputedStyle(element);
  const value = (name) => style.getPropertyValue(name).trim();
  return {
    line: value("--chart-line"),
    fill: value("--chart-fill"),
    grid: value("--chart-grid"),
    text: value("--chart-text"),
    gap: value("--chart-gap"),
    loss: value("--loss"),
    lossFill: value("--chart-loss-fill"),
    font: `12px ${style.fontFamily}`,
  };
}

/** Room above and below the curve; a flat curve gets a band around it instead of a scale of no height. */
function paddedRange(_chart, low, high) {
  if (low === null || high === null) return [0, 1];
  const span = high - low || Math.abs(high) * 0.02 || 1;
  return [low - span * 0.1, high + span * 0.1];
}

/** The time that the readings span, a minute at the least; a single one stands in the middle of an hour. */
function timeRange(chart, first, last) {
  if (chart.data[0].length === 1) return [first - 1800, first + 1800]; // uPlot would show years
  return [Math.min(first, last - 60), last];
}

/** Indices of readings with a gap on both sides: no line reaches them, so they are drawn as points. */
function lonePoints(chart, series) {
  const values = chart.data[series];
  const known = (index) => values[index] !== null && values[index] !== undefined;
  return values.flatMap((_, index) => (known(index) && !known(index - 1) && !known(index + 1) ? [index] : []));
}

/** Shades the stretches without a reading, behind the curve. */
function shadeGaps(chart, colour) {
  const [times, values] = chart.data;
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.fillStyle = colour;
  for (let index = 0; index < values.length; index += 1) {
    if (values[index] !== null) continue;
    const first = index;
    while (index + 1 < values.length && values[index + 1] === null) index += 1;
    const left = chart.valToPos(times[Math.max(first - 1, 0)], "x", true);
    const right = chart.valToPos(times[Math.min(index + 1, times.length - 1)], "x", true);
    const from = Math.max(left, bbox.left);
    const to = Math.min(right, bbox.left + bbox.width);
    if (to > from) ctx.fillRect(from, bbox.top, to - from, bbox.height);
  }
  ctx.restore();
}

export class EquityChart {
  #points = [];
  #drawdowns = [];
  #currency = "";
  #plot = null;
  #under = null;
  #loading = false;
  #timer = null;

  constructor(element) {
    this.element = element;
    this.canvas = element.querySelector("[data-chart-canvas]");
    this.note = element.querySelector("[data-chart-note]");
    this.gapNote = element.querySelector("[data-chart-gaps]");
    new ResizeObserver(() => this.#resize()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Fetches the series and draws it; what went wrong is said in the chart's place. */
  async load() {
    if (this.#loading) return;
    this.#loading = true;
    try {
      const response = await fetch(this.element.dataset.seriesUrl, { headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const { points, currency, drawdowns } = await response.json();
      this.#points = points;
      this.#drawdowns = drawdowns ?? [];
      this.#currency = currency ?? "";
      this.#draw();
      this.#fillTable();
    } catch {
      if (!this.#plot) this.#say("The curve could not be fetched. Reload the page to try again.");
    } finally {
      this.#loading = false;
    }
  }

  /** Asks for one more load; many changes in a short time become one. */
  reloadSoon() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.load();
    }, RELOAD_EVERY);
  }

  #say(text) {
    this.note.textContent = text;
    this.note.hidden = text === "";
    this.canvas.hidden = text !== "";
  }

  #size() {
    return { width: Math.max(this.canvas.clientWidth, 120), height: this.canvas.clientWidth < 520 ? 220 : 280 };
  }

  #resize() {
    this.#plot?.setSize(this.#size());
    this.#under?.setSize(this.#underSize());
  }

  #underSize() {
    return { width: this.#size().width, height: 92 };
  }

  #draw() {
    this.#plot?.destroy();
    this.#under?.destroy();
    this.#plot = this.#under = null;
    const known = this.#points.filter(([, value]) => value !== null).length;
    if (known === 0) {
      this.#say("No equity has been read in this time.");
      return;
    }
    this.#say("");
    this.gapNote.hidden = known === this.#points.length;
    const times = this.#points.map(([at]) => Date.parse(at) / 1000);
    // Binary floats are good enough to place a pixel; the exact decimal string is what the legend shows.
    const values = this.#points.map(([, value]) => (value === null ? null : Number(value)));
    this.#plot = new uPlot(this.#options(), [times, values], this.canvas);
    if (this.#drawdowns.some((value) => Number(value) > 0)) {
      const falls = this.#drawdowns.map((value) => (value === null ? null : -Number(value)));
      this.#under = new uPlot(this.#underOptions(), [times, falls], this.canvas);
    }
  }

  /** How far below its highest value the bot stood: hangs from zero, below the curve and in step with it. */
  #underOptions() {
    const { cursor, axes, scales, ...options } = this.#options();
    const look = colours(this.element);
    return {
      ...options,
      ...this.#underSize(),
      class: "below",
      cursor,
      scales: { ...scales, y: { range: (_chart, low) => [Math.min(low ?? 0, -0.001) * 1.1, 0] } },
      axes: [
        { ...axes[0], show: false },
        { ...axes[1], space: 24, values: (_chart, ticks) => ticks.map(percent) },
      ],
      series: [
        { label: "Time (UTC)", value: () => null },
        {
          label: "Drawdown",
          stroke: look.loss,
          fill: look.lossFill,
          width: 1.25,
          spanGaps: false,
          points: { show: true, filter: lonePoints, size: 4, fill: look.loss },
          value: (_chart, _value, _series, index) => percent(this.#fallAt(index)),
        },
      ],
    };
  }

  #fallAt(index) {
    const value = this.#drawdowns[index ?? this.#drawdowns.length - 1];
    return value === null || value === undefined ? null : -Number(value);
  }

  #options() {
    const look = colours(this.element);
    const axis = { stroke: look.text, font: look.font, grid: { stroke: look.grid, width: 1 }, ticks: { show: false } };
    return {
      ...this.#size(),
      padding: [12, 18, 0, 0], // the same for both plots: one moment stands at one place in both
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { y: false, drag: { x: true, y: false }, sync: { key: this.element.dataset.seriesUrl } },
      scales: { x: { range: timeRange }, y: { range: paddedRange } },
      axes: [
        { ...axis, grid: { show: false }, values: axisTimes, space: 70 },
        { ...axis, size: 64, values: (_chart, ticks) => ticks.map(compactAmount) },
      ],
      series: [
        { label: "Time (UTC)", value: (_chart, _at, _series, index) => this.#legend(index).time },
        {
          label: "Equity",
          stroke: look.line,
          fill: look.fill,
          width: 1.75,
          spanGaps: false,
          points: { show: true, filter: lonePoints, size: 5, fill: look.line },
          value: (_chart, _value, _series, index) => this.#legend(index).amount,
        },
      ],
      hooks: { drawClear: [(chart) => shadeGaps(chart, look.gap)] },
    };
  }

  /** The reading under the cursor; the newest one while there is no cursor. */
  #legend(index) {
    const [at, value] = this.#points[index ?? this.#points.length - 1];
    return { time: fullTime(Date.parse(at) / 1000), amount: this.#amount(value) };
  }

  #amount(value) {
    return value === null ? "not known" : exactAmount(value, this.#currency);
  }

  /** The same figures for those who do not see a canvas: the newest rows, newest first. */
  #fillTable() {
    const body = document.getElementById(this.element.dataset.table ?? "");
    if (!body) return;
    const rows = this.#points.slice(-TABLE_ROWS).reverse().map(([at, value]) => {
      const row = document.createElement("tr");
      const time = row.insertCell();
      time.textContent = fullTime(Date.parse(at) / 1000);
      const amount = row.insertCell();
      amount.className = "number";
      amount.textContent = this.#amount(value);
      return row;
    });
    body.replaceChildren(...rows);
  }
}
