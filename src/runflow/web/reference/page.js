// The API key that a reader enters, here or under "Authorize", stays in this tab's memory: it is not persisted.
const whole = "v1/openapi.json";
const shown = new URLSearchParams(location.search).get("url")?.match(/^\/v1\/[\w\-/.]+$/)?.[0] ?? whole;
const place = document.getElementById("reference");
let key = "";

function show() {
  SwaggerUIBundle({
    url: shown,
    dom_id: "#reference",
    deepLinking: true,
    docExpansion: shown === whole ? "none" : "list",
    filter: true,
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    persistAuthorization: false,
    validatorUrl: null,
    requestInterceptor: (request) => {
      const here = new URL(request.url, location.href).origin === location.origin;
      if (key && here && !request.headers.Authorization) request.headers.Authorization = `Bearer ${key}`;
      return request;
    },
  });
}

// The document of one thing needs a key that may read it; the whole one needs none.
function askForKey(problem) {
  const form = document.createElement("form");
  form.className = "key";
  form.innerHTML = `<p role="status"></p><label>API key <input type="password" autocomplete="off" required></label>
    <button>Show</button>`;
  form.querySelector("p").textContent = problem;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    key = form.querySelector("input").value.trim();
    load();
  });
  place.replaceChildren(form);
  form.querySelector("input").focus();
}

async function load() {
  const answer = await fetch(shown, key ? { headers: { Authorization: `Bearer ${key}` } } : {}).catch(() => null);
  if (answer && [401, 403, 404].includes(answer.status)) {
    const told = await answer.json().catch(() => ({}));
    const problem = answer.status === 401 ? "This key is unknown, expired or revoked." : (told.message ?? `The server answers ${answer.status}.`);
    askForKey(key ? problem : "This document is shown to whoever has a key that may read it.");
  } else show();
}

if (shown === whole) show();
else load();
