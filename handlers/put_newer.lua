-- KEYS: the cache keys. ARGV: time to live in seconds, width of the version at a body's end, then one body a key.
-- A body replaces what is there unless that is newer: versions are fixed-width times, so text order is time order.
local ttl, width = ARGV[1], tonumber(ARGV[2])
for i, key in ipairs(KEYS) do
  local body = ARGV[i + 2]
  local present = redis.call('GETRANGE', key, -width, -1)
  -- A value that does not end as a version does is damaged and must not win.
  if string.sub(present, -3) ~= 'Z"}' or present <= string.sub(body, -width) then
    redis.call('SET', key, body, 'EX', ttl)
  end
end
return #KEYS
