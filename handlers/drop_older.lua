-- KEYS: the cache keys. ARGV: width of the version at a body's end, what stands before it, and then one version a key.
-- Deletes each value that is older than its version, or has none. Returns how many it deleted.
local width, mark = tonumber(ARGV[1]), ARGV[2]
local dropped = 0
for i, key in ipairs(KEYS) do
  local present = redis.call('GETRANGE', key, -(width + #mark), -1)
  if present ~= '' and (string.sub(present, 1, #mark) ~= mark or string.sub(present, -width) < ARGV[i + 2]) then
    dropped = dropped + redis.call('UNLINK', key)
  end
end
return dropped
