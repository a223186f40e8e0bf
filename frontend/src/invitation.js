// The code of an invitation stands behind the # of the mail's link, which no server and no log ever sees. It leaves the
// address bar at once, waits in this tab while its reader signs in, and ends in the field of the form.
const KEPT = "tradewise.invitation";
const CODE = /^[\w-]{20,200}$/;

function take() {
  const code = window.location.hash.slice(1);
  if (!CODE.test(code)) return;
  window.history.replaceState(null, "", window.location.pathname);
  window.sessionStorage.setItem(KEPT, code);
}

function fill(place) {
  const code = window.sessionStorage.getItem(KEPT);
  if (!code) return;
  const field = place.querySelector('input[name="token"]');
  if (field) {
    field.value = code;
    window.sessionStorage.removeItem(KEPT);
    return;
  }
  place.querySelector("[data-invitation-kept]").hidden = false;
  place.querySelector("[data-invitation-paste]").hidden = true;
}

/** Brings the code of the address into the form, now and when the link is opened once more in this tab. */
export function installInvitation() {
  const place = document.querySelector("[data-invitation]");
  if (!place) return;
  const bring = () => {
    take();
    fill(place);
  };
  bring();
  window.addEventListener("hashchange", bring);
}
