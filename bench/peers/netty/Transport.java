import io.netty.channel.Channel;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.ServerChannel;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.channel.epoll.EpollSocketChannel;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.channel.unix.DomainSocketAddress;

import java.net.InetSocketAddress;
import java.net.SocketAddress;

/** How an endpoint is reached: by the native epoll transport where its library is there, else by NIO. */
record Transport(
        SocketAddress address,
        EventLoopGroup group,
        Class<? extends Channel> channel,
        Class<? extends ServerChannel> serverChannel) {

    /** What the transport at hand can't do. */
    static final class Unsupported extends Exception {
        Unsupported(String message) {
            super(message);
        }
    }

    static Transport of(String endpoint) throws Unsupported {
        String place = endpoint.substring(endpoint.indexOf(':') + 1);
        if (endpoint.startsWith("unix:")) {
            if (!Epoll.isAvailable()) {
                throw new Unsupported("unix sockets need Netty's native epoll library");
            }
            return new Transport(
                    new DomainSocketAddress(place),
                    new EpollEventLoopGroup(1),
                    EpollDomainSocketChannel.class,
                    EpollServerDomainSocketChannel.class);
        }
        if (!endpoint.startsWith("tcp:")) {
            throw new IllegalArgumentException("no such endpoint: " + endpoint);
        }
        SocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(place));
        if (Epoll.isAvailable()) {
            return new Transport(
                    address, new EpollEventLoopGroup(1), EpollSocketChannel.class, EpollServerSocketChannel.class);
        }
        return new Transport(address, new NioEventLoopGroup(1), NioSocketChannel.class, NioServerSocketChannel.class);
    }

    boolean isTcp() {
        return address instanceof InetSocketAddress;
    }
}
