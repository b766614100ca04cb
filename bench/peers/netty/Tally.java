import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Locale;

/** What was done since the clock started. */
final class Tally {
    private long frames;
    private long bytes;
    private final long wall = System.nanoTime();
    private final long cpu = cpuNanos();

    void add(int size) {
        frames++;
        bytes += size;
    }

    long frames() {
        return frames;
    }

    String report(long crc) {
        double usedCpu = (cpuNanos() - cpu) / 1e9;
        double usedWall = (System.nanoTime() - wall) / 1e9;
        return String.format(
                Locale.ROOT,
                "{\"crc\": %d, \"frames\": %d, \"bytes\": %d, \"cpu\": %.9f, \"wall\": %.9f}",
                crc, frames, bytes, usedCpu, usedWall);
    }

    /**
     * Nanoseconds on a processor of all threads, from Linux's scheduler: OperatingSystemMXBean's process time goes by
     * the hundredth of a second.
     */
    static long cpuNanos() {
        long sum = 0;
        for (String thread : new File("/proc/self/task").list()) {
            try {
                sum += Long.parseLong(Files.readString(Path.of("/proc/self/task", thread, "schedstat")).split(" ")[0]);
            } catch (NoSuchFileException ended) {
                continue;
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
        return sum;
    }
}
