import io.netty.bootstrap.Bootstrap;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.PooledByteBufAllocator;
import io.netty.channel.AdaptiveRecvByteBufAllocator;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.RecvByteBufAllocator;
import io.netty.handler.codec.LengthFieldBasedFrameDecoder;
import io.netty.handler.codec.LengthFieldPrepender;
import io.netty.util.concurrent.Promise;

import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The contender "netty", after ../../README.md: LengthFieldBasedFrameDecoder, LengthFieldPrepender and pooled buffers. */
public final class Peer {
    private static final int LIMIT = 16 << 20;
    private static final int WIDTH = 4;

    /** Its own limit is 64 KiB. */
    private static final RecvByteBufAllocator BUFFERS = new AdaptiveRecvByteBufAllocator(64, 2048, 256 << 10);

    private final Transport transport;
    private final String[] rest;

    private Peer(Transport transport, String[] rest) {
        this.transport = transport;
        this.rest = rest;
    }

    public static void main(String[] arguments) {
        try {
            Transport transport = Transport.of(argument(arguments, 2));
            String[] rest = List.of(arguments).subList(3, arguments.length).toArray(String[]::new);
            System.out.println(new Peer(transport, rest).run(argument(arguments, 1)));
            System.exit(0);
        } catch (Transport.Unsupported unsupported) {
            System.out.println("{\"unsupported\": \"" + unsupported.getMessage() + "\"}");
            System.err.println(unsupported.getMessage());
            System.exit(3);
        } catch (Throwable error) {
            System.err.println(error);
            System.exit(1);
        }
    }

    private static String argument(String[] arguments, int place) {
        if (place >= arguments.length) {
            throw new IllegalArgumentException("usage: Peer NAME receive|send|echo ENDPOINT ARGUMENT...");
        }
        return arguments[place];
    }

    private long number(int place) {
        return Long.parseLong(argument(rest, place));
    }

    private String run(String work) throws Exception {
        Tally.cpuNanos(); // Its classes are loaded before it counts.
        Promise<String> report = transport.group().next().newPromise();
        switch (work) {
            case "receive" -> connect(new Receiver(number(0), number(1), report));
            case "send" -> connect(new Sender(payloads(argument(rest, 0)), number(1), number(2), number(3), report));
            case "echo" -> listen();
            default -> throw new IllegalArgumentException("no such work: " + work);
        }
        return report.sync().getNow();
    }

    private void connect(ChannelHandler handler) throws InterruptedException {
        Bootstrap bootstrap = new Bootstrap()
                .group(transport.group())
                .channel(transport.channel())
                .option(ChannelOption.ALLOCATOR, PooledByteBufAllocator.DEFAULT)
                .option(ChannelOption.RCVBUF_ALLOCATOR, BUFFERS)
                .handler(initializer(() -> handler));
        if (transport.isTcp()) {
            bootstrap.option(ChannelOption.TCP_NODELAY, true);
        }
        bootstrap.connect(transport.address()).sync();
    }

    private void listen() throws InterruptedException {
        ServerBootstrap bootstrap = new ServerBootstrap()
                .group(transport.group())
                .channel(transport.serverChannel())
                .option(ChannelOption.SO_BACKLOG, 4096)
                .childOption(ChannelOption.ALLOCATOR, PooledByteBufAllocator.DEFAULT)
                .childOption(ChannelOption.RCVBUF_ALLOCATOR, BUFFERS)
                .childHandler(initializer(Echo::new));
        if (transport.isTcp()) {
            bootstrap.option(ChannelOption.SO_REUSEADDR, true).childOption(ChannelOption.TCP_NODELAY, true);
        }
        bootstrap.bind(transport.address()).sync();
        System.out.println("ready");
    }

    private interface Handlers {
        ChannelHandler next();
    }

    private static ChannelInitializer<Channel> initializer(Handlers handlers) {
        return new ChannelInitializer<>() {
            @Override
            protected void initChannel(Channel channel) {
                channel.pipeline().addLast(
                        new LengthFieldBasedFrameDecoder(LIMIT + WIDTH, 0, WIDTH, 0, WIDTH),
                        new LengthFieldPrepender(WIDTH),
                        handlers.next());
            }
        };
    }

    private static List<ByteBuf> payloads(String path) throws Exception {
        List<ByteBuf> payloads = new ArrayList<>();
        try (FileChannel file = FileChannel.open(Path.of(path))) {
            ByteBuf data = PooledByteBufAllocator.DEFAULT.directBuffer((int) file.size());
            while (data.isWritable() && data.writeBytes(file, data.writerIndex(), data.writableBytes()) > 0) {
            }
            while (data.isReadable()) {
                payloads.add(data.readRetainedSlice(data.readInt()));
            }
        }
        return payloads;
    }
}
