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

start
while read -r word; do
  case $word in
    start) start ;;
    stop) kill -INT "$server" && wait "$server" ;;
    kill) kill -KILL $(everyone) 2>/dev/null && wait "$server" ;;
    freeze) frozen=$(everyone) && kill -STOP $frozen 2>/dev/null ;;
    thaw) kill -CONT $frozen 2>/dev/null ;;
  esac
done
kill -KILL $(everyone) 2>/dev/null
wait "$server"
rm -rf "$FOLDER"
