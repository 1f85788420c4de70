// Uses a client that @hey-api/openapi-ts made: BASE KEY HOOK; prints JSON.
import { cancelProcess, enqueue, getPhone, getProcess, listPhones } from "./generated";
import { client } from "./generated/client.gen";

declare const process: { argv: string[] };

async function main([base, key, hook]: [string, string, string]) {
  client.setConfig({ baseUrl: base, headers: { Authorization: `Bearer ${key}` } });
  const accepted = await enqueue({
    body: {
      request_id: "typescript",
      capability: "keyword_warmup",
      mode: "manual",
      target: { routing: "direct", account_id: "acc-SIM1" },
      inputs: { keywords: ["tea"], videos_per_keyword: 1 },
      callback: { url: hook },
      requested_by: { system: "generated" },
    },
    throwOnError: true,
  });
  const id: string | null = accepted.data.process_id;
  if (id === null) throw new Error("nothing was created");
  await cancelProcess({
    path: { process_id: id },
    body: { reason: "a test", requested_by: "generated" },
    throwOnError: true,
  });
  const record = await getProcess({ path: { process_id: id }, throwOnError: true });
  const phones = await listPhones({ throwOnError: true });
  const refused = await getPhone({ path: { phone_id: "nobody" } });
  console.log(
    JSON.stringify({
      status: record.data.status,
      phones: phones.data.phones.map((one) => one.transport),
      error: refused.error?.error,
    }),
  );
}

main(process.argv.slice(2) as [string, string, string]);
