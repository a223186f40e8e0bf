// A hosted bot's output, line by line as it comes: <div id="bot-log" data-log-url="…">
//
// The browser goes on by itself after a cut, with the position of the last line (Last-Event-ID). The page keeps the
// newest lines only, and a page nobody looks at gives its stream back, as in live.js.
import htmx from "htmx.org";

const KEPT = 2000; // lines on the page
const HIDDEN_GRACE = 10_000; // ms
const RETRY = 5000; // ms after the server closed the stream for good

const REASONS = {
  launcher_absent: "Waiting: the launcher is away",
  launcher_busy: "Waiting for the launcher",
  engine_unreachable: "Waiting: the container engine does not answer",
  no_copy: "Not running",
  starting: "Starting",
  logs_withheld: "Not shown: what would have to be blacked out in it is not known any more",
  logs_unavailable: "The engine does not give this output",
  too_many_followed: "Waiting: too many bots are followed just now",
};

class LogPanel {
  #source = null;
  #position = null;
  #paused = false;
  #waiting = []; // what came while it was paused
  #timer = null;

  constructor(element) {
    this.element = element;
    const card = element.closest("section");
    this.state = card.querySelector("[data-log-state]");
    this.pause = card.querySelector("[data-log-pause]");
    this.wrap = card.querySelector("[data-log-wrap]");
  }

  start() {
    this.pause.hidden = this.wrap.hidden = false;
    this.pause.addEventListener("click", () => this.#togglePause());
    this.wrap.addEventListener("click", () => this.#toggleWrap());
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    window.addEventListener("pagehide", () => this.#close());
    window.addEventListener("pageshow", () => this.#open());
    this.#open();
  }

  #open() {
    clearTimeout(this.#timer);
    if (this.#source) return;
    const source = new EventSource(this.element.dataset.logUrl);
    this.#source = source;
    source.addEventListener("open", () => this.#say("Following"));
    source.addEventListener("lines", (event) => this.#took(event, (data) => this.#lines(data.lines)));
    source.addEventListener("dropped", (event) => this.#took(event, (data) => this.#note(leftOut(data), "log-gap")));
    source.addEventListener("copy", (event) => this.#took(event, (data) => this.#copy(data.instance_id)));
    source.addEventListener("ended", (event) => this.#took(event, () => this.#ended()));
    source.addEventListener("waiting", (event) => this.#say(REASONS[JSON.parse(event.data).reason] ?? "Waiting"));
    source.addEventListener("reading", () => this.#say("Following"));
    source.addEventListener("error", () => this.#failed());
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #failed() {
    this.#say("Reconnecting");
    if (this.#source?.readyState !== EventSource.CLOSED) return;
    this.#close();
    this.#timer = setTimeout(() => this.#open(), RETRY * (0.5 + Math.random()));
  }

  #visibilityChanged() {
    clearTimeout(this.#timer);
    if (document.hidden) this.#timer = setTimeout(() => this.#close(), HIDDEN_GRACE);
    else this.#open();
  }

  // A stream that is opened anew by us begins with lines that are on the page already: those are passed over.
  #took(event, show) {
    const data = JSON.parse(event.data);
    const position = event.lastEventId ? Number(event.lastEventId) : null;
    if (position !== null && this.#position !== null && position <= this.#position) return;
    if (data.lines?.filter && this.#position !== null) {
      data.lines = data.lines.filter((line) => line.position > this.#position);
    }
    if (position !== null) this.#position = position;
    if (this.#paused) {
      this.#waiting.push(() => show(data));
      if (this.#waiting.length > KEPT) this.#waiting.shift();
      this.pause.textContent = `Go on (${this.#waiting.length})`;
    } else {
      show(data);
    }
  }

  #lines(lines) {
    const rows = lines.map((line) => {
      const row = document.createElement("div");
      row.className = line.stream === "stderr" ? "log-line log-error" : "log-line";
      const time = document.createElement("time");
      time.dateTime = line.at;
      time.title = line.at;
      time.textContent = line.at.slice(11, 19);
      row.append(time, document.createTextNode(` ${line.text}`));
      return row;
    });
    this.#append(rows);
  }

  #shown = null;

  #copy(id) {
    if (id === this.#shown) return;
    if (this.#shown !== null) this.#note(`Another copy: ${id.slice(-8)}`);
    this.#shown = id;
  }

  #ended() {
    this.#note("The copy has ended.");
    const copies = document.getElementById("bot-copies");
    // What is kept of it is written down a moment later.
    if (copies) setTimeout(() => htmx.trigger(copies, "copy-ended"), 1500);
  }

  #note(text, kind = "") {
    const row = document.createElement("p");
    row.className = `log-note ${kind}`;
    row.textContent = text;
    this.#append([row]);
  }

  #append(rows) {
    const { element } = this;
    element.querySelector("[data-log-empty]")?.remove();
    const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    element.append(...rows);
    while (element.childElementCount > KEPT) element.firstElementChild.remove();
    if (atEnd) element.scrollTop = element.scrollHeight;
  }

  #togglePause() {
    this.#paused = !this.#paused;
    this.pause.textContent = this.#paused ? "Go on" : "Pause";
    if (this.#paused) return;
    for (const show of this.#waiting) show();
    this.#waiting = [];
    this.element.scrollTop = this.element.scrollHeight;
  }

  #toggleWrap() {
    const wrapped = this.element.classList.toggle("log-unwrapped") === false;
    this.wrap.setAttribute("aria-pressed", String(wrapped));
  }

  #say(text) {
    this.state.textContent = text;
  }
}

function leftOut({ lines, at_least: atLeast }) {
  if (!lines) return "Some lines were left out here.";
  const count = lines.toLocaleString("en");
  return `${atLeast ? "At least " : ""}${count} line${lines === 1 ? " was" : "s were"} left out here.`;
}

/** Follows the output on a page that shows one. */
export function installLogPanel() {
  const element = document.getElementById("bot-log");
  if (element && "EventSource" in window) new LogPanel(element).start();
}
