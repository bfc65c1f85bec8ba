// Shows the server's own OpenAPI document, and sends it to nobody: `validatorUrl` would.
SwaggerUIBundle({
  url: document.currentScript.dataset.openapi,
  dom_id: "#reference",
  validatorUrl: null,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
});
