// The contender "go", after ../README.md: bufio, encoding/binary and io.ReadFull.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	headerSize = 4
	bufferSize = 64 << 10
	limit      = 16 << 20
)

var errEarly = errors.New("the stream ended too early")

// readFrame returns the next payload in a slice of its own. The header is the caller's, to be allocated only once.
func readFrame(reader *bufio.Reader, header []byte) ([]byte, error) {
	if _, err := io.ReadFull(reader, header); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header)
	if size > limit {
		return nil, fmt.Errorf("frame of %d bytes, limit %d", size, limit)
	}
	payload := make([]byte, size)
	_, err := io.ReadFull(reader, payload)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return payload, err
}

func writeFrame(writer *bufio.Writer, header, payload []byte) error {
	binary.BigEndian.PutUint32(header, uint32(len(payload)))
	if _, err := writer.Write(header); err != nil {
		return err
	}
	_, err := writer.Write(payload)
	return err
}

// tally is what was done since the clock started.
type tally struct {
	frames, bytes int
	cpu           float64
	wall          time.Time
}

func startClock() tally {
	return tally{wall: time.Now(), cpu: cpuSeconds()}
}

func (t *tally) add(payload []byte) {
	t.frames++
	t.bytes += len(payload)
}

func (t *tally) report(crc uint32) string {
	cpu, wall := cpuSeconds()-t.cpu, time.Since(t.wall).Seconds()
	return fmt.Sprintf(`{"crc": %d, "frames": %d, "bytes": %d, "cpu": %.9f, "wall": %.9f}`, crc, t.frames, t.bytes, cpu, wall)
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		fail(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func receive(conn net.Conn, warm, frames int) (string, error) {
	reader := bufio.NewReaderSize(conn, bufferSize)
	header := make([]byte, headerSize)
	var crc uint32
	for i := 0; i < warm; i++ {
		payload, err := readFrame(reader, header)
		if err == io.EOF {
			return "", errEarly
		}
		if err != nil {
			return "", err
		}
		crc = crc32.Update(crc, crc32.IEEETable, payload)
	}
	done := startClock()
	for {
		payload, err := readFrame(reader, header)
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		done.add(payload)
	}
	report := done.report(crc)
	if done.frames < frames {
		return "", errEarly
	}
	return report, nil
}

func payloadsIn(path string) ([][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	header := make([]byte, headerSize)
	var payloads [][]byte
	for {
		payload, err := readFrame(reader, header)
		if err == io.EOF && len(payloads) > 0 {
			return payloads, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		payloads = append(payloads, payload)
	}
}

func send(conn net.Conn, path string, warm, frames, batch int) (string, error) {
	payloads, err := payloadsIn(path)
	if err != nil {
		return "", err
	}
	writer := bufio.NewWriterSize(conn, bufferSize)
	header := make([]byte, headerSize)
	at := 0
	var done tally
	for _, count := range []int{warm, frames} {
		done = startClock()
		for done.frames < count {
			for end := min(done.frames+batch, count); done.frames < end; at++ {
				if at == len(payloads) {
					at = 0
				}
				if err := writeFrame(writer, header, payloads[at]); err != nil {
					return "", err
				}
				done.add(payloads[at])
			}
			if err := writer.Flush(); err != nil {
				return "", err
			}
		}
	}
	report := done.report(0)
	return report, conn.(interface{ CloseWrite() error }).CloseWrite()
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

// frameBuffered tells if the next frame can be read without waiting.
func frameBuffered(reader *bufio.Reader) bool {
	if reader.Buffered() < headerSize {
		return false
	}
	header, _ := reader.Peek(headerSize)
	return reader.Buffered()-headerSize >= int(binary.BigEndian.Uint32(header))
}

// echo sends frames back; it flushes once for all that had come.
func echo(conn net.Conn) error {
	defer conn.Close()
	reader := bufio.NewReaderSize(conn, bufferSize)
	writer := bufio.NewWriterSize(conn, bufferSize)
	header := make([]byte, headerSize)
	for {
		payload, err := readFrame(reader, header)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := writeFrame(writer, header, payload); err != nil {
			return err
		}
		if !frameBuffered(reader) {
			if err := writer.Flush(); err != nil {
				return err
			}
		}
	}
}

func serve(network, address string) error {
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := echo(conn); err != nil {
				fmt.Fprintln(os.Stderr, "a client:", err)
			}
		}()
	}
}

// run does the work that the arguments name. TCP_NODELAY is what package net sets by itself.
func run(work, endpoint string, rest []string) (string, error) {
	network, address, _ := strings.Cut(endpoint, ":")
	if network == "tcp" {
		address = net.JoinHostPort("127.0.0.1", address)
	}
	if work == "echo" && len(rest) == 0 {
		return "", serve(network, address)
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		return "", err
	}
	if work == "receive" && len(rest) == 2 {
		return receive(conn, number(rest[0]), number(rest[1]))
	}
	if work == "send" && len(rest) == 4 {
		return send(conn, rest[0], number(rest[1]), number(rest[2]), number(rest[3]))
	}
	return "", errors.New("usage: peer NAME receive|send|echo ENDPOINT ARGUMENT...")
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		fail(err)
	}
	return value
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func main() {
	if len(os.Args) < 4 {
		fail(errors.New("usage: peer NAME receive|send|echo ENDPOINT ARGUMENT..."))
	}
	report, err := run(os.Args[2], os.Args[3], os.Args[4:])
	if err != nil {
		fail(err)
	}
	fmt.Println(report)
}
