import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.util.concurrent.Promise;

import java.io.EOFException;
import java.util.zip.CRC32;

/** Counts payloads until the stream ends. */
final class Receiver extends ChannelInboundHandlerAdapter {
    private final CRC32 crc = new CRC32();
    private final long frames;
    private final Promise<String> report;
    private long warm;
    private Tally tally;

    Receiver(long warm, long frames, Promise<String> report) {
        this.warm = warm;
        this.frames = frames;
        this.report = report;
    }

    @Override
    public void channelActive(ChannelHandlerContext context) {
        if (warm == 0) {
            tally = new Tally();
        }
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        ByteBuf payload = (ByteBuf) message;
        if (tally != null) {
            tally.add(payload.readableBytes());
        } else {
            check(payload);
        }
        payload.release();
    }

    private void check(ByteBuf payload) {
        crc.update(payload.nioBuffer());
        warm--;
        if (warm == 0) {
            tally = new Tally();
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        if (tally == null || tally.frames() < frames) {
            report.tryFailure(new EOFException("the stream ended too early"));
        } else {
            report.trySuccess(tally.report(crc.getValue()));
        }
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
        report.tryFailure(error);
    }
}
