-- KEYS: the key that says that there are traces, and then the keys of traces. ARGV: time to live in seconds, width of the
-- version at a value's beginning, and then one value a trace. A value replaces what is there unless that is newer. When
-- the memory is full, it is left out.
local ttl, width = ARGV[1], tonumber(ARGV[2])
redis.pcall('SET', KEYS[1], '1', 'EX', ttl)
for i = 2, #KEYS do
  local value = ARGV[i + 1]
  if redis.call('GETRANGE', KEYS[i], 0, width - 1) <= string.sub(value, 1, width) then
    redis.pcall('SET', KEYS[i], value, 'EX', ttl)
  end
end
