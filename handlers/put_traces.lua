-- KEYS: the trace keys, and the key that shows that trace keys may exist. ARGV: the time to live in seconds, the width of
-- the version at the start of a value, and then one value per key. A value replaces the stored value unless that is newer.
-- If the memory is full, the value is not stored.
local ttl, width = ARGV[1], tonumber(ARGV[2])
for i, key in ipairs(KEYS) do
  local value = ARGV[i + 2]
  if redis.call('GETRANGE', key, 0, width - 1) <= string.sub(value, 1, width) then
    redis.pcall('SET', key, value, 'EX', ttl)
  end
end
return 0
