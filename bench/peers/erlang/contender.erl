%% The contender "erlang", after ../../README.md: gen_tcp with {packet, 4}, {active, N} and large buffers.
-module(contender).
-export([main/0]).

-define(BUFFER, 262144).
-define(LIMIT, 16777216).
%% Messages until a socket turns passive and is set active again.
-define(ACTIVE, 1000).

main() ->
    try run(init:get_plain_arguments()) of
        Report ->
            io:put_chars([Report, $\n]),
            halt(0)
    catch
        throw:Reason -> fail(Reason);
        _:Reason -> fail(io_lib:format("~0p", [Reason]))
    end.

fail(Reason) ->
    io:put_chars(standard_error, [Reason, $\n]),
    halt(1).

run([_Name, "receive", Endpoint, Warm, Frames]) ->
    Threads = threads(),
    Socket = connected(Endpoint, [{packet, 4}, {active, ?ACTIVE}]),
    Crc = check(Socket, list_to_integer(Warm), 0),
    Clock = clock(Threads),
    {Count, Bytes} = count(Socket, 0, 0),
    Report = report(Clock, Crc, Count, Bytes),
    Count >= list_to_integer(Frames) orelse throw("the stream ended too early"),
    Report;
run([_Name, "send", Endpoint, File, Warm, Frames, "1"]) ->
    Socket = connected(Endpoint, [{packet, 4}, {active, false}]),
    send(Socket, File, Warm, Frames, fun send_each/4);
run([_Name, "send", Endpoint, File, Warm, Frames, Batch]) ->
    %% {packet, 4} would make one frame of all that a call sends.
    Socket = connected(Endpoint, [{packet, raw}, {active, false}]),
    Size = list_to_integer(Batch),
    send(Socket, File, Warm, Frames, fun(To, Ring, All, Count) -> send_batches(To, Ring, All, Count, Size) end);
run([_Name, "echo", Endpoint]) ->
    {Port, Address} = address(Endpoint),
    Options = [{reuseaddr, true}, {backlog, 4096}, {packet, 4}, {active, false} | options(Endpoint)],
    Listener = ok(gen_tcp:listen(Port, [{ifaddr, Address} | Options])),
    io:put_chars("ready\n"),
    serve(Listener);
run(_) ->
    throw("usage: contender NAME receive|send|echo ENDPOINT ARGUMENT...").

ok(ok) -> ok;
ok({ok, Value}) -> Value;
ok({error, Reason}) -> throw(inet:format_error(Reason)).

address("tcp:" ++ Port) -> {list_to_integer(Port), {127, 0, 0, 1}};
address("unix:" ++ Path) -> {0, {local, Path}};
address(Endpoint) -> throw("no such endpoint: " ++ Endpoint).

options("tcp:" ++ _) -> [{nodelay, true} | common_options()];
options("unix:" ++ _) -> [local | common_options()].

common_options() ->
    [binary, {buffer, ?BUFFER}, {packet_size, ?LIMIT}].

connected(Endpoint, Options) ->
    {Port, Address} = address(Endpoint),
    ok(gen_tcp:connect(Address, Port, Options ++ options(Endpoint))).

%% The CRC-32 of that many payloads.
check(_Socket, 0, Crc) ->
    Crc;
check(Socket, Left, Crc) ->
    receive
        {tcp, Socket, Payload} -> check(Socket, Left - 1, erlang:crc32(Crc, Payload));
        {tcp_passive, Socket} -> activate(Socket), check(Socket, Left, Crc);
        {tcp_closed, Socket} -> throw("the stream ended too early");
        {tcp_error, Socket, Reason} -> throw(inet:format_error(Reason))
    end.

count(Socket, Count, Bytes) ->
    receive
        {tcp, Socket, Payload} -> count(Socket, Count + 1, Bytes + byte_size(Payload));
        {tcp_passive, Socket} -> activate(Socket), count(Socket, Count, Bytes);
        {tcp_closed, Socket} -> {Count, Bytes};
        {tcp_error, Socket, Reason} -> throw(inet:format_error(Reason))
    end.

activate(Socket) ->
    ok(inet:setopts(Socket, [{active, ?ACTIVE}])).

send(Socket, File, Warm, Frames, Send) ->
    Threads = threads(),
    Payloads = payloads(ok(file:read_file(File))),
    {Rest, _} = Send(Socket, Payloads, Payloads, list_to_integer(Warm)),
    Clock = clock(Threads),
    Count = list_to_integer(Frames),
    {_, Bytes} = Send(Socket, Rest, Payloads, Count),
    Report = report(Clock, 0, Count, Bytes),
    ok(gen_tcp:shutdown(Socket, write)),
    %% What the driver still holds would be lost with it; the peer closes when it has everything.
    {error, closed} = gen_tcp:recv(Socket, 0),
    Report.

payloads(<<Size:32, Payload:Size/binary, Rest/binary>>) -> [Payload | payloads(Rest)];
payloads(<<>>) -> [];
payloads(_) -> throw("FILE doesn't hold whole frames").

%% Sends that many of Ring, then of All again and again. Returns what is left of the ring, and the bytes of payload.
send_each(Socket, Ring, All, Count) ->
    send_each(Socket, Ring, All, Count, 0).

send_each(_Socket, Ring, _All, 0, Bytes) ->
    {Ring, Bytes};
send_each(Socket, [], All, Count, Bytes) ->
    send_each(Socket, All, All, Count, Bytes);
send_each(Socket, [Payload | Ring], All, Count, Bytes) ->
    ok(gen_tcp:send(Socket, Payload)),
    send_each(Socket, Ring, All, Count - 1, Bytes + byte_size(Payload)).

send_batches(Socket, Ring, All, Count, Size) ->
    send_batches(Socket, Ring, All, Count, Size, 0).

send_batches(_Socket, Ring, _All, 0, _Size, Bytes) ->
    {Ring, Bytes};
send_batches(Socket, Ring, All, Count, Size, Bytes) ->
    Now = min(Size, Count),
    {Batch, Rest, Sum} = batch(Ring, All, Now, [], Bytes),
    ok(gen_tcp:send(Socket, Batch)),
    send_batches(Socket, Rest, All, Count - Now, Size, Sum).

batch(Ring, _All, 0, Batch, Bytes) ->
    {lists:reverse(Batch), Ring, Bytes};
batch([], All, Count, Batch, Bytes) ->
    batch(All, All, Count, Batch, Bytes);
batch([Payload | Ring], All, Count, Batch, Bytes) ->
    Size = byte_size(Payload),
    batch(Ring, All, Count - 1, [[<<Size:32>> | Payload] | Batch], Bytes + Size).

serve(Listener) ->
    Socket = ok(gen_tcp:accept(Listener)),
    Client = spawn(fun() -> receive go -> activate(Socket), echo(Socket) end end),
    ok(gen_tcp:controlling_process(Socket, Client)),
    Client ! go,
    serve(Listener).

echo(Socket) ->
    receive
        {tcp, Socket, Payload} ->
            case gen_tcp:send(Socket, Payload) of
                ok -> echo(Socket);
                {error, _} -> gen_tcp:close(Socket)
            end;
        {tcp_passive, Socket} ->
            activate(Socket),
            echo(Socket);
        {tcp_closed, Socket} ->
            ok;
        {tcp_error, Socket, Reason} ->
            io:put_chars(standard_error, ["a client: ", inet:format_error(Reason), $\n])
    end.

%% The processor's part is read last and, for the report, first.
clock(Threads) ->
    Wall = erlang:monotonic_time(nanosecond),
    {Threads, Wall, cpu_time(Threads)}.

report({Threads, Wall, Cpu}, Crc, Count, Bytes) ->
    CpuUsed = (cpu_time(Threads) - Cpu) / 1.0e9,
    WallUsed = (erlang:monotonic_time(nanosecond) - Wall) / 1.0e9,
    Format = "{\"crc\": ~b, \"frames\": ~b, \"bytes\": ~b, \"cpu\": ~.9f, \"wall\": ~.9f}",
    io_lib:format(Format, [Crc, Count, Bytes, CpuUsed, WallUsed]).

%% Where Linux's scheduler tells each thread's time on a processor. Erlang has getrusage's numbers in milliseconds only.
threads() ->
    [ok(file:open(Path, [raw, binary, read])) || Path <- filelib:wildcard("/proc/self/task/*/schedstat")].

%% Nanoseconds.
cpu_time(Threads) ->
    lists:sum([thread_time(Thread) || Thread <- Threads]).

thread_time(Thread) ->
    [Time | _] = binary:split(ok(file:pread(Thread, 0, 64)), <<" ">>),
    binary_to_integer(Time).
