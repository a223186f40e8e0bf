// Forms whose fields depend on a choice, and forms that must not be sent twice.

/**
 * Shows the field groups that fit the chosen options and switches the others off, so that they are neither required nor
 * sent. A group says `data-when="name=value"`, several conditions apart by spaces, all of which must hold.
 */
function fitGroups(form) {
  const chosen = new FormData(form);
  for (const group of form.querySelectorAll("[data-when]")) {
    const fits = group.dataset.when.split(" ").every((condition) => {
      const [name, value] = condition.split("=");
      return chosen.getAll(name).includes(value);
    });
    group.hidden = !fits;
    group.disabled = !fits;
  }
}

/** Gives dependent fields and double-submit protection to every form of the page. */
export function installForms() {
  const fitAll = () => document.querySelectorAll("form[data-depends]").forEach(fitGroups);
  fitAll();
  document.addEventListener("change", (event) => {
    const form = event.target.closest?.("form[data-depends]");
    if (form) fitGroups(form);
  });
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented) return; // htmx sends it, and guards it itself
    const form = event.target;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
  });
  // A page that comes back from the browser's history must be usable again, and browsers restore choices late.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) {
      delete form.dataset.sent;
      form.removeAttribute("aria-busy");
    }
    fitAll();
  });
}
