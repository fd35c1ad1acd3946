-- KEYS: the cache keys. ARGV: the time to live in seconds, the width of the version at the end of a body, the bytes before
-- the version, and then one body per key. A body replaces the stored value unless that is newer. Versions are times with
-- a fixed width, so text order equals time order. A stored value without a complete version is damaged and is replaced.
-- If the memory is full, the body is not stored, but the stored value is deleted because it is outdated. Returns how many
-- bodies were not stored.
local ttl, width, mark = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local refused = 0
for i, key in ipairs(KEYS) do
  local body = ARGV[i + 3]
  local present = redis.call('GETRANGE', key, -(width + #mark), -1)
  local whole = string.sub(present, 1, #mark) == mark and string.sub(present, -3) == 'Z"}'
  if not whole or string.sub(present, -width) <= string.sub(body, -width) then
    -- After a script has deleted a key, Redis lets it write beyond the memory limit. So after one refused SET the script
    -- stores nothing more.
    if refused > 0 or redis.pcall('SET', key, body, 'EX', ttl).err then
      redis.call('UNLINK', key)
      refused = refused + 1
    end
  end
end
return refused
