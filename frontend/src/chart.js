// Equity curves: <div class="equity-chart" data-series-url="…" data-table="id-of-a-tbody" data-live-key="bot:…">
import { EquityChart } from "./equity-chart.js";

const charts = [...document.querySelectorAll(".equity-chart")].map((element) => new EquityChart(element));
for (const chart of charts) chart.load();

document.addEventListener("tradewise:live", ({ detail: { kind, id } }) => {
  for (const chart of charts) {
    if (kind === "*" || chart.element.dataset.liveKey === `${kind}:${id}`) chart.reloadSoon();
  }
});
