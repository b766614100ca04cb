import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelPromise;
import io.netty.channel.socket.DuplexChannel;
import io.netty.util.concurrent.Promise;

import java.util.List;

/** Writes payloads while the channel is writable, and flushes behind each batch. */
final class Sender extends ChannelInboundHandlerAdapter {
    private final List<ByteBuf> payloads;
    private final long frames;
    private final long batch;
    private final Promise<String> report;
    private boolean warming = true;
    private long left;
    private int at;
    private Tally tally = new Tally();

    Sender(List<ByteBuf> payloads, long warm, long frames, long batch, Promise<String> report) {
        this.payloads = payloads;
        this.left = warm;
        this.frames = frames;
        this.batch = batch;
        this.report = report;
    }

    @Override
    public void channelActive(ChannelHandlerContext context) {
        if (left == 0) {
            wentOut(context);
        }
        fill(context);
    }

    @Override
    public void channelWritabilityChanged(ChannelHandlerContext context) {
        fill(context);
    }

    private void fill(ChannelHandlerContext context) {
        while (left > 0 && context.channel().isWritable()) {
            for (long count = Math.min(batch, left); count > 0; count--) {
                write(context);
            }
            context.flush();
        }
    }

    private void write(ChannelHandlerContext context) {
        ByteBuf payload = payloads.get(at);
        at = at + 1 == payloads.size() ? 0 : at + 1;
        tally.add(payload.readableBytes());
        left--;
        ChannelPromise promise = context.voidPromise();
        if (left == 0) {
            promise = context.newPromise();
            promise.addListener((ChannelFuture future) -> {
                if (future.isSuccess()) {
                    wentOut(context);
                } else {
                    report.tryFailure(future.cause());
                }
            });
        }
        context.write(payload.retainedDuplicate(), promise);
    }

    /** The warm-up, or everything, is with the kernel. */
    private void wentOut(ChannelHandlerContext context) {
        if (warming) {
            warming = false;
            left = frames;
            tally = new Tally();
            // Not from here, inside a flush: what is flushed inside a flush waits for it.
            context.executor().execute(() -> fill(context));
            return;
        }
        String line = tally.report(0);
        ((DuplexChannel) context.channel()).shutdownOutput().addListener(future -> report.trySuccess(line));
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        report.tryFailure(new java.io.EOFException("the peer closed"));
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
        report.tryFailure(error);
    }
}
