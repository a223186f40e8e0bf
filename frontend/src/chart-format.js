// How a chart writes times and amounts. Times are in UTC like all times of the dashboard; amounts are written from their decimal strings.

const inUtc = (parts) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...parts });

const CLOCK = inUtc({ hour: "2-digit", minute: "2-digit" });
const CLOCK_SECONDS = inUtc({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = inUtc({ day: "numeric", month: "short" });
const MONTH = inUtc({ month: "short", year: "numeric" });
const FULL = inUtc({ dateStyle: "medium", timeStyle: "medium" });

const DAY_SECONDS = 86_400;

/** Labels of the time axis, as fine as the distance between ticks (in seconds) asks for. */
export function axisTimes(_chart, ticks, _axis, _space, step) {
  let lastDay = null;
  return ticks.map((tick) => {
    const at = new Date(tick * 1000);
    if (step >= 28 * DAY_SECONDS) return MONTH.format(at);
    if (step >= DAY_SECONDS) return DAY.format(at);
    const day = DAY.format(at);
    const clock = (step < 60 ? CLOCK_SECONDS : CLOCK).format(at);
    const label = lastDay !== null && lastDay !== day ? `${clock}\n${day}` : clock;
    lastDay = day;
    return label;
  });
}

/** A moment (seconds since 1970) in full. */
export function fullTime(seconds) {
  return FULL.format(new Date(seconds * 1000));
}

/** How many decimals a step between ticks needs so that no tick is rounded: 2 for 0.25, none for 50. */
function decimalsOf(step) {
  const needed = [0, 1, 2, 3, 4, 5, 6, 7].find((places) => Math.abs(step - Number(step.toFixed(places))) < step / 1e6);
  return needed ?? 8;
}

/** A tick of the value axis: short, but never so short that neighbouring ticks read the same. */
export function compactAmount(value, _index, ticks) {
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : Math.abs(value);
  const large = Math.abs(value) >= 100_000 && step >= 1000;
  const unit = large ? 1000 : 1;
  const decimals = decimalsOf(step / unit || 1);
  const text = (value / unit).toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return large ? `${text}k` : text;
}

// Formatted from the decimal string itself where the browser can: no float in between.
const LARGE = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const SMALL = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 8 });

/** An amount, given as a decimal string, with its currency; small ones keep all their places. */
export function exactAmount(decimal, currency) {
  const format = Math.abs(Number(decimal)) < 100 ? SMALL : LARGE;
  return `${format.format(decimal).replace("-", "−")}${currency ? ` ${currency}` : ""}`;
}

/** A share as a percentage: short, with a real minus sign. */
export function percent(value) {
  if (value === null) return "not known";
  const text = (Math.abs(value) * 100).toLocaleString("en", { maximumFractionDigits: 2 });
  return `${value < 0 && text !== "0" ? "−" : ""}${text}%`;
}
