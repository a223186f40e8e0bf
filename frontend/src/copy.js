// Buttons that copy a value shown on the page: <button data-copy="element-id" hidden>Copy</button>.

/** Reveals copy buttons where the browser can copy, now and in whatever htmx brings later. */
export function installCopyButtons() {
  if (!navigator.clipboard) return;
  const reveal = (root) => {
    for (const button of root.querySelectorAll("button[data-copy]")) button.hidden = false;
  };
  reveal(document);
  document.addEventListener("htmx:load", (event) => reveal(event.target));
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    const source = button && document.getElementById(button.dataset.copy);
    if (!source) return;
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed by the browser";
    }
    setTimeout(() => (button.textContent = before), 2000);
  });
}
