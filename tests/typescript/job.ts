// A job from its request to its result, with the client that is made of the API's description.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.d.ts";

const address = process.argv[2];
if (address === undefined) throw new Error("the service's address is missing");
const client = createClient<paths>({ baseUrl: address });

function told<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

const body: components["schemas"]["ExplainRequest"] = {
  text: "The cat sat.",
  model: "minilm",
  granularity: "layer",
  layers: [0],
};
let job = told(await client.POST("/v1/explain", { body }));
while (job.status === "queued" || job.status === "running") {
  const params = { path: { job_id: job.id }, query: { wait: 30, embed: false } };
  job = told(await client.GET("/v1/jobs/{job_id}", { params }));
}
console.log("job:", job.status);
const params = { path: { job_id: job.id }, query: { maps: "layer" } };
const result = told(await client.GET("/v1/jobs/{job_id}/result", { params }));
if (typeof result === "string" || !("tokens" in result)) throw new Error("a result of a text was not what came");
console.log("tokens:", result.tokens.join(" "));
console.log("converged:", result.converged);
