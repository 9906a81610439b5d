// The API key that a reader enters under "Authorize" stays in this tab's memory: it is not persisted.
SwaggerUIBundle({
  url: new URLSearchParams(location.search).get("url")?.match(/^\/v1\/[\w\-/.]+$/)?.[0] ?? "v1/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  persistAuthorization: false,
  validatorUrl: null,
});
