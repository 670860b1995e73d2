// Lets people edit one document together. Who may, and what is kept, the backend decides.
import { readFileSync } from "node:fs";
import { Server } from "@hocuspocus/server";
import * as Y from "yjs";

const backend = process.env.COLLABORATION_BACKEND_BASE_URL ?? "http://backend:8000";
const origin = process.env.COLLABORATION_SERVER_ORIGIN;
const port = Number(process.env.PORT ?? 4444);
const key = readFileSync(process.env.Y_API_KEY_FILE ?? "/run/secrets/y_api_key", "utf8").trim();

const header = (headers, name) => (headers.get ? headers.get(name) : headers[name]) ?? "";

async function ask(path, options) {
  const answer = await fetch(backend + path, { ...options, signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

const internal = (name, options = {}) =>
  ask(`/internal/documents/${encodeURIComponent(name)}/`, { ...options, headers: { Authorization: `Bearer ${key}` } });

const server = new Server({
  port,
  quiet: true,
  timeout: 60000,
  debounce: 500,
  maxDebounce: 2000,

  async onRequest({ request, response }) {
    if (request.url !== "/ready") return;
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ status: "ok", version: process.env.APP_VERSION }));
    throw null; // answered
  },

  // The session cookie that came with the WebSocket says who asks; the backend says what that person may do.
  async onConnect({ documentName, requestHeaders, connectionConfig }) {
    const from = header(requestHeaders, "origin");
    if (origin && from !== origin) throw new Error(`not from ${origin}`);
    const headers = { Cookie: header(requestHeaders, "cookie") };
    const { abilities } = await ask(`/api/v1.0/documents/${encodeURIComponent(documentName)}/`, { headers });
    connectionConfig.readOnly = !abilities.update;
  },

  async onLoadDocument({ documentName, document }) {
    const { state, text } = await internal(documentName);
    if (state) Y.applyUpdate(document, Buffer.from(state, "base64"));
    else if (text) document.getText("content").insert(0, text);
    return document;
  },

  async onStoreDocument({ documentName, document }) {
    const state = Buffer.from(Y.encodeStateAsUpdate(document)).toString("base64");
    const text = document.getText("content").toString();
    await internal(documentName, { method: "PUT", body: JSON.stringify({ state, text }) });
  },
});

await server.listen();
console.log(`y-provider ${process.env.APP_VERSION} listens on ${port}`);
