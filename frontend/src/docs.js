// The reference of the HTTP API, read from our own OpenAPI document: no other origin is asked for anything.
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";

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
