//! Protobuf over gRPC: prost, with a decode failure told as the caller's mistake and by field.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use tonic::{
    Status,
    codec::{DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::status::undecodable;

/// The codec of every method of ours.
#[derive(Debug, Clone, Copy)]
pub struct Codec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for Codec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> tonic::codec::Codec for Codec<E, D>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = ProtoEncoder<E>;
    type Decoder = ProtoDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        ProtoEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProtoDecoder(PhantomData)
    }
}

/// Encodes messages.
#[derive(Debug, Clone, Copy)]
pub struct ProtoEncoder<E>(PhantomData<E>);

impl<E: Message> Encoder for ProtoEncoder<E> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // At once: the answers to a batch would outgrow their buffer again and again, and be moved each time.
        buffer.reserve(item.encoded_len());
        item.encode(buffer)
            .map_err(|_| Status::internal("the answer could not be encoded"))
    }
}

/// Decodes messages.
#[derive(Debug, Clone, Copy)]
pub struct ProtoDecoder<D>(PhantomData<D>);

impl<D: Message + Default> Decoder for ProtoDecoder<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        let decoded = D::decode(&mut *buffer);
        // What a failure left unread is not the beginning of the next message.
        buffer.advance(buffer.remaining());
        decoded.map(Some).map_err(|error| undecodable(&error))
    }
}
