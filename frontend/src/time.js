// Keeps the words of <time data-relative datetime="…"> true while the page stays open.
// The words are those of `ago` in control_plane/dashboard/formatting.py: change both together.

const SECOND = 1000;
const STEPS = [
  { name: "second", length: SECOND, below: 60 * SECOND },
  { name: "minute", length: 60 * SECOND, below: 3600 * SECOND },
  { name: "hour", length: 3600 * SECOND, below: 24 * 3600 * SECOND },
  { name: "day", length: 24 * 3600 * SECOND, below: 30 * 24 * 3600 * SECOND },
];

/** Words for a moment `distance` milliseconds before now (negative: after), or null when a date says it better. */
export function relativeWords(distance) {
  const size = Math.abs(distance);
  if (size < 5 * SECOND) return "just now";
  const step = STEPS.find(({ below }) => size < below);
  if (!step) return null;
  const count = Math.floor(size / step.length);
  const amount = `${count} ${step.name}${count === 1 ? "" : "s"}`;
  return distance > 0 ? `${amount} ago` : `in ${amount}`;
}

/** How far the server's clock is ahead of this machine's: a wrong local clock must not age a reading. */
function clockOffset() {
  const served = Date.parse(document.querySelector('meta[name="server-time"]')?.content ?? "");
  return Number.isNaN(served) ? 0 : served - Date.now();
}

function update(offset) {
  const now = Date.now() + offset;
  for (const element of document.querySelectorAll("time[data-relative]")) {
    const words = relativeWords(now - Date.parse(element.dateTime));
    if (words !== null && words !== element.textContent) element.textContent = words;
  }
}

/** Starts the clock: every five seconds, and at once when the page comes back into view. */
export function keepTimesCurrent() {
  const offset = clockOffset();
  setInterval(() => document.hidden || update(offset), 5 * SECOND);
  document.addEventListener("visibilitychange", () => document.hidden || update(offset));
}
