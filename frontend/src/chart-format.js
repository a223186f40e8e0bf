// How a chart writes times and amounts. Times are in the reader's own zone; amounts keep every digit they came with.

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const CLOCK_SECONDS = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "short", year: "numeric" });
const FULL = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

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

/** A tick of the value axis: short, but never so short that neighbouring ticks read the same. */
export function compactAmount(value, _index, ticks) {
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : Math.abs(value);
  const large = Math.abs(value) >= 100_000 && step >= 1000;
  const unit = large ? 1000 : 1;
  const decimals = Math.max(0, Math.min(8, Math.ceil(-Math.log10(step / unit || 1))));
  const text = (value / unit).toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return large ? `${text}k` : text;
}

/** A decimal string with its digits grouped and its currency; it never passes through a float. */
export function exactAmount(decimal, currency) {
  const [, sign, whole, fraction = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(decimal) ?? [null, "", decimal];
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  const shown = fraction.replace(/0+$/, "").padEnd(2, "0");
  return `${sign ? "−" : ""}${grouped}.${shown}${currency ? ` ${currency}` : ""}`;
}
