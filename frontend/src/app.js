// What every page loads. Pages are complete without it: it makes them quicker to use and keeps them up to date.
import "htmx.org";
import { installActions } from "./actions.js";
import { installCopyButtons } from "./copy.js";
import { installForms } from "./forms.js";
import { installInvitation } from "./invitation.js";
import { startLiveUpdates } from "./live.js";
import { installLogPanel } from "./logs.js";
import { keepTimesCurrent } from "./time.js";

// htmx is configured by a meta tag in base.html (no eval, no injected styles, no scripts from fragments).
installActions();
installCopyButtons();
installForms();
installInvitation();
keepTimesCurrent();
startLiveUpdates();
installLogPanel();
