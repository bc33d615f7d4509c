package calls

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
)

// messages is how many messages the streaming calls send.
const messages = 5

// Unary sends one message of a size and checks the one that comes back, of the same size.
func (s Service) Unary(ctx context.Context, seed, size int) error {
	c := call{s, seed, size}
	req := &grpc_testing.SimpleRequest{Payload: c.payload(), ResponseSize: int32(size)}
	var header, trailer metadata.MD
	resp, err := s.Client.UnaryCall(c.context(ctx), req, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		return fmt.Errorf("unary: %w", err)
	}
	return named("unary", c.check(req.Payload, resp.GetPayload()), c.checkMetadata(header, trailer))
}

// ClientStream sends messages of a size and checks the sum that comes back. After the first message
// it calls pause.
func (s Service) ClientStream(ctx context.Context, seed, size int, pause func()) error {
	c := call{s, seed, size}
	stream, err := s.Client.StreamingInputCall(c.context(ctx))
	if err != nil {
		return fmt.Errorf("client stream: %w", err)
	}
	req := &grpc_testing.StreamingInputCallRequest{Payload: c.payload()}
	for i := range messages {
		if err := stream.Send(req); err != nil {
			return fmt.Errorf("client stream: sending: %w", err)
		}
		if i == 0 {
			pause()
		}
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return fmt.Errorf("client stream: %w", err)
	}
	if got, want := resp.GetAggregatedPayloadSize(), int32(messages*size); got != want {
		return fmt.Errorf("client stream: the server received %d bytes, not %d", got, want)
	}
	return nil
}

// ServerStream asks for messages of a size and checks every one and their number.
func (s Service) ServerStream(ctx context.Context, seed, size int) error {
	c := call{s, seed, size}
	req := &grpc_testing.StreamingOutputCallRequest{Payload: c.payload()}
	for range messages {
		req.ResponseParameters = append(req.ResponseParameters, &grpc_testing.ResponseParameters{Size: int32(size)})
	}
	stream, err := s.Client.StreamingOutputCall(c.context(ctx), req)
	if err != nil {
		return fmt.Errorf("server stream: %w", err)
	}
	for range messages {
		resp, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("server stream: %w", err)
		}
		if err := c.check(req.Payload, resp.GetPayload()); err != nil {
			return fmt.Errorf("server stream: %w", err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("server stream: its end is %v", err)
	}
	return nil
}

// Bidi sends messages of a size, each after the response to the one before, and checks them. After
// the first response it calls pause.
func (s Service) Bidi(ctx context.Context, seed, size int, pause func()) error {
	c := call{s, seed, size}
	stream, err := s.Client.FullDuplexCall(c.context(ctx))
	if err != nil {
		return fmt.Errorf("bidi: %w", err)
	}
	for i := range messages {
		if err := c.pingPong(stream); err != nil {
			return fmt.Errorf("bidi: message %d: %w", i, err)
		}
		if i == 0 {
			pause()
		}
	}
	if err := stream.CloseSend(); err != nil {
		return fmt.Errorf("bidi: half-closing: %w", err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("bidi: its end is %v", err)
	}
	header, err := stream.Header()
	return named("bidi", err, c.checkMetadata(header, stream.Trailer()))
}

type duplex = grpc.BidiStreamingClient[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]

func (c call) pingPong(stream duplex) error {
	req := &grpc_testing.StreamingOutputCallRequest{
		Payload:            c.payload(),
		ResponseParameters: []*grpc_testing.ResponseParameters{{Size: int32(c.size)}},
	}
	if err := stream.Send(req); err != nil {
		return err
	}
	resp, err := stream.Recv()
	if err != nil {
		return err
	}
	return c.check(req.Payload, resp.GetPayload())
}

func named(kind string, errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return nil
}
