-- A script for wrk: requests the uids in the file BENCH_UIDS repeatedly, and prints the same JSON as bench.load_client.
local requests, position = {}, 0

function init()
  for uid in io.lines(os.getenv("BENCH_UIDS")) do
    requests[#requests + 1] = wrk.format("GET", "/order/" .. uid)
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "wrong": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
