// A curious agent: tries everything in attempts.json, harmlessly, and prints what came of each as a line of JSON.
const fs = require("fs");
const os = require("os");

function* environments() {
  yield Object.entries(process.env).map(([name, value]) => `${name}=${value}`).join("\0");
  for (const pid of fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      yield fs.readFileSync(`/proc/${pid}/environ`, "utf8");
    } catch {}
  }
}

const kinds = {
  list: (target) => `${fs.readdirSync(target).length} entries`,
  read: (target) => `${fs.readFileSync(target).length} bytes`,
  // For writing, but nothing is written: an attempt that succeeds does no harm.
  open: (target) => (fs.closeSync(fs.openSync(target, fs.constants.O_WRONLY | fs.constants.O_APPEND)), "open for writing"),
  signal: (target) => (process.kill(Number(target), 0), "it can be signalled"),
  processes: () => `${fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name)).length} processes`,
  token: (target) => {
    for (const text of environments()) if (text.includes(target)) return "found it";
    throw Object.assign(new Error(), { code: "ENODATA" });
  },
  make: (target) => (fs.appendFileSync(target.replace(/^~/, os.homedir()), "made by the agent\n"), "written"),
};

for (const { id, kind, target } of JSON.parse(fs.readFileSync("/app/attempts.json"))) {
  let result;
  try {
    result = { reached: true, got: kinds[kind](target) };
  } catch (error) {
    result = { reached: false, got: error.code || String(error) };
  }
  console.log(JSON.stringify({ ...result, id }));
}
