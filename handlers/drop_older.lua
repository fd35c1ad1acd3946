-- KEYS: the cache keys. ARGV: the width of the version at the end of a body, the bytes before the version, and then one
-- version per key. Deletes each value that is older than this version, or has no version. Returns the number of deletions.
local width, mark = tonumber(ARGV[1]), ARGV[2]
local dropped = 0
for i, key in ipairs(KEYS) do
  local present = redis.call('GETRANGE', key, -(width + #mark), -1)
  if present ~= '' and (string.sub(present, 1, #mark) ~= mark or string.sub(present, -width) < ARGV[i + 2]) then
    dropped = dropped + redis.call('UNLINK', key)
  end
end
return dropped
