// Exit 0 when the server answers that it is ready.
import { get } from "node:http";

get({ port: Number(process.env.PORT ?? 4444), path: "/ready", timeout: 4000 }, (answer) => {
  process.exit(answer.statusCode === 200 ? 0 : 1);
}).on("error", () => process.exit(1));
