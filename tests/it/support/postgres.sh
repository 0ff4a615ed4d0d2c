# Runs one PostgreSQL server at the word of its standard input, and takes it away with all it wrote when that closes:
# nothing is left behind, however the test ends. BIN and FOLDER are given.
start() {
  "$BIN/postgres" -D "$FOLDER/data" >>"$FOLDER/log" 2>&1 &
  server=$!
}

# The server and every process of its own.
everyone() {
  echo "$server" $(cat "/proc/$server/task/$server/children" 2>/dev/null)
}

# Ends all of them at once. What outlives the server still holds its memory, and would keep the next one from starting.
end() {
  local all pid
  all=$(everyone)
  kill -KILL $all 2>/dev/null
  wait "$server"
  for pid in $all; do
    while grep -q '^State:[[:space:]]*[^ZX]' "/proc/$pid/status" 2>/dev/null; do
      sleep 0.01
    done
  done
}

start
while read -r word; do
  case $word in
    start) start ;;
    stop) kill -INT "$server" && wait "$server" ;;
    kill) end ;;
    freeze) frozen=$(everyone) && kill -STOP $frozen 2>/dev/null ;;
    thaw) kill -CONT $frozen 2>/dev/null ;;
  esac
done
kill -KILL $(everyone) 2>/dev/null
wait "$server"
rm -rf "$FOLDER"
