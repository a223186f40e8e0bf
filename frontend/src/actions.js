// What happens around requests that htmx makes for us: failures are told in words, an ended session leads to sign-in.

/** Shows one message in the page's message area, as the server would have rendered it. */
function tell(text) {
  const area = document.getElementById("flash");
  if (!area) return;
  const message = document.createElement("p");
  message.className = "flash flash-error";
  message.setAttribute("role", "alert");
  message.textContent = text;
  area.replaceChildren(message);
}

/** The sentence of an error page or of a problem document, or a general one where the answer holds neither. */
function reasonIn(xhr) {
  const kind = xhr.getResponseHeader("Content-Type") ?? "";
  if (kind.includes("json")) {
    try {
      const problem = JSON.parse(xhr.responseText);
      if (problem.detail) return problem.detail;
    } catch {
      // Not the document it claimed to be: the general sentence below says as much as we know.
    }
  } else if (kind.includes("html")) {
    const page = new DOMParser().parseFromString(xhr.responseText, "text/html");
    const detail = page.querySelector("[data-error-detail]")?.textContent.trim();
    if (detail) return detail;
  }
  return `That did not work (the server answered ${xhr.status}). Nothing was changed; please try again.`;
}

/** Keeps open what the reader opened, across the exchange of the part of the page it is in. */
function keepOpened() {
  let opened = [];
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    opened = [...detail.target.querySelectorAll("details[id][open]")].map((details) => details.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  });
}

/** Connects htmx's request events to the page: failures, lost connections and sessions that ended. */
export function installActions() {
  keepOpened();
  // Another tenant may have been chosen in another tab: the server then has this page loaded anew.
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    const { shownTenant } = document.body.dataset;
    if (shownTenant) detail.headers["X-Shown-Tenant"] = shownTenant;
  });
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr, elt } = event.detail;
    if (xhr.status === 401) {
      window.location.reload(); // the server leads to sign-in and back
      return;
    }
    // A refresh nobody asked for fails quietly: the indicator in the header tells that the page is not live.
    if (!elt.hasAttribute("data-live")) tell(reasonIn(xhr));
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (!event.detail.elt.hasAttribute("data-live")) {
      tell("The server could not be reached. Check your connection and try again.");
    }
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // A redirect to sign-in would otherwise be swapped in place of the fragment, and leave a hole.
    const { xhr } = event.detail;
    if (xhr.responseURL && new URL(xhr.responseURL).pathname === "/sign-in") {
      event.detail.shouldSwap = false;
      window.location.assign(xhr.responseURL);
    }
  });
}
