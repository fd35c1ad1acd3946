-- KEYS: the keys. Returns their values; '' for a key that is missing. Redis Cluster refuses MGET for keys of several slots.
local values = {}
for i, key in ipairs(KEYS) do
  values[i] = redis.call('GETRANGE', key, 0, -1)
end
return values
