-- KEYS: the key that shows that trace keys may exist, and then the trace keys. ARGV: the time to live in seconds, the width
-- of the version at the start of a value, and then one value per trace key. A value replaces the stored value unless that
-- is newer. If the memory is full, the value is not stored.
local ttl, width = ARGV[1], tonumber(ARGV[2])
redis.pcall('SET', KEYS[1], '1', 'EX', ttl)
for i = 2, #KEYS do
  local value = ARGV[i + 1]
  if redis.call('GETRANGE', KEYS[i], 0, width - 1) <= string.sub(value, 1, width) then
    redis.pcall('SET', KEYS[i], value, 'EX', ttl)
  end
end
