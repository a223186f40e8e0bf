// The reference of the HTTP API, read from our own OpenAPI document: no other origin is asked for anything.
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";

// swagger-ui has a dark look of its own, chosen by a class; the reader's system says which one it is.
const dark = matchMedia("(prefers-color-scheme: dark)");
const followSystem = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followSystem);
followSystem();

const place = document.getElementById("api-reference");

SwaggerUI({
  domNode: place,
  url: place.dataset.specUrl,
  validatorUrl: null, // its default sends the document's address to a public service
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  persistAuthorization: false, // a token typed in here is gone with the page
});
