// The restricted pickle machine: opcode by opcode on pickles written by hand, then everything that a hostile pickle may
// try. Pickles by Python's own pickler, in every protocol, are read in torch_file_test.cc.
#include "model/files/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "model/files/torch_test_util.h"

namespace phidias {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using torch_test::AsBytes;
using torch_test::Le;
using torch_test::PickleWriter;

// Keeps the bytes alive beside what was read from them.
struct Read {
  explicit Read(std::string pickle) : bytes(std::move(pickle)), result(ReadPickle(AsBytes(bytes))) {}
  const PickleValue& root() const { return result->values[result->root]; }
  const PickleValue& item(size_t i) const { return result->values[root().items[i]]; }

  std::string bytes;
  Result<Pickle> result;
};

// Body between protocol and STOP.
Read ReadBody(const std::string& body) {
  return Read(PickleWriter().Raw(body).Stop());
}

Status ErrorOf(const std::string& pickle) {
  const Read read(pickle);
  EXPECT_FALSE(read.result.ok());
  return read.result.status();
}

std::string Error(const PickleWriter& writer) {
  return ErrorOf(writer.Stop()).message();
}
std::string BodyError(const std::string& body) {
  return Error(PickleWriter().Raw(body));
}

TEST(Pickle, Integers) {
  const Read read = ReadBody("(K\xffM\xff\xffJ\xff\xff\xff\xff\x8a\x00\x8a\x01\x80\x8a\x02\xff\x00\x8a\x08"s +
                             Le<int64_t>(INT64_MIN) + "\x8b\x02\x00\x00\x00\x01\x02\x88\x89t"s);
  ASSERT_TRUE(read.result.ok()) << read.result.status().message();
  std::vector<int64_t> integers;
  for (size_t i = 0; i < read.root().items.size(); ++i) {
    integers.push_back(read.item(i).integer);
  }
  EXPECT_THAT(integers, ElementsAre(255, 65535, -1, 0, -128, 255, INT64_MIN, 0x201, 1, 0));
  EXPECT_EQ(read.item(0).kind, PickleKind::kInt);
  EXPECT_EQ(read.item(8).kind, PickleKind::kBool);
}

TEST(Pickle, PlainValues) {
  const Read read = ReadBody("(NG\x3f\xf8\x00\x00\x00\x00\x00\x00U\x02usT\x03\x00\x00\x00"s +
                             "btxX\x01\x00\x00\x00y\x8c\x01z\x8d\x02\x00\x00\x00\x00\x00\x00\x00"s + "zz" + "C\x01"s +
                             "cB\x02\x00\x00\x00"s + "dd\x8e\x01\x00\x00\x00\x00\x00\x00\x00"s + "el");
  ASSERT_TRUE(read.result.ok()) << read.result.status().message();
  EXPECT_EQ(read.root().kind, PickleKind::kList);
  ASSERT_EQ(read.root().items.size(), 10U);
  EXPECT_EQ(read.item(0).kind, PickleKind::kNone);
  EXPECT_EQ(read.item(1).number, 1.5);
  std::vector<std::string_view> texts;
  for (size_t i = 2; i < 10; ++i) {
    texts.push_back(read.item(i).text);
    EXPECT_EQ(read.item(i).kind, i < 7 ? PickleKind::kString : PickleKind::kBytes) << i;
  }
  EXPECT_THAT(texts, ElementsAre("us", "btx", "y", "z", "zz", "c", "dd", "e"));
}

TEST(Pickle, Containers) {
  const Read read = ReadBody("](K\x01K\x02"s + "eK\x03"s + "a)\x85K\x07K\x08\x86K\x09K\x0aK\x0b\x87("s + "K\x01K\x02"s +
                             "d}K\x03K\x04s(K\x05K\x06u\x86\x86\x86\x86\x86"s);
  ASSERT_TRUE(read.result.ok()) << read.result.status().message();
  const PickleValue& list = read.item(0);
  EXPECT_EQ(list.kind, PickleKind::kList);
  EXPECT_EQ(list.items.size(), 3U);
  const auto at = [&](PickleId id) -> const PickleValue& { return read.result->values[id]; };
  const PickleValue* rest = &at(read.root().items[1]);
  EXPECT_EQ(at(rest->items[0]).items.size(), 1U);  // ((),)
  rest = &at(rest->items[1]);
  EXPECT_EQ(at(rest->items[0]).items.size(), 2U);
  rest = &at(rest->items[1]);
  EXPECT_EQ(at(rest->items[0]).items.size(), 3U);
  rest = &at(rest->items[1]);
  EXPECT_EQ(at(rest->items[0]).kind, PickleKind::kDict);
  EXPECT_EQ(at(rest->items[0]).items.size(), 2U);
  EXPECT_EQ(at(rest->items[1]).items.size(), 4U);
  EXPECT_EQ(at(at(rest->items[1]).items[2]).integer, 5);
}

TEST(Pickle, MemoAndStack) {
  // Sparse places are as good as dense ones; POP on a mark drops the mark; POP_MARK drops what is above it.
  const Read read =
      ReadBody("K\x05r\xff\xff\xff\xffq\x07"s + "0((0K\x01K\x02"s + "1h\x07j\xff\xff\xff\xff"s + "2\x87"s);
  ASSERT_TRUE(read.result.ok()) << read.result.status().message();
  EXPECT_EQ(read.item(0).integer, 5);
  EXPECT_THAT(read.root().items, ElementsAre(0, 0, 0));
  const Read memoized(PickleWriter(4).Raw("\x95\x07\x00\x00\x00\x00\x00\x00\x00K\x01\x94h\x00\x86"s).Stop());
  ASSERT_TRUE(memoized.result.ok()) << memoized.result.status().message();
  EXPECT_THAT(memoized.root().items, ElementsAre(0, 0));
}

TEST(Pickle, Tensors) {
  const Read read(PickleWriter().Tensor("HalfStorage", "7", 24, 3, {2, 3}, {1, 2}).Stop());
  ASSERT_TRUE(read.result.ok()) << read.result.status().message();
  ASSERT_EQ(read.root().kind, PickleKind::kTensor);
  const PickleTensor& tensor = read.result->tensors.at(static_cast<size_t>(read.root().integer));
  EXPECT_EQ(tensor.storage.key, "7");
  EXPECT_EQ(tensor.storage.elements, 24);
  EXPECT_EQ(tensor.dtype, DType::kF16);
  EXPECT_EQ(tensor.offset, 3);
  EXPECT_THAT(tensor.shape, ElementsAre(2, 3));
  EXPECT_THAT(tensor.strides, ElementsAre(1, 2));
}

TEST(Pickle, UnknownElementTypesKeepTheirName) {
  const Read read(PickleWriter().Tensor("ComplexFloatStorage", "0", 1, 0, {}, {}).Stop());
  ASSERT_TRUE(read.result.ok()) << read.result.status().message();
  EXPECT_EQ(read.result->tensors[0].dtype, std::nullopt);
  EXPECT_EQ(read.result->tensors[0].type_name, "ComplexFloatStorage");
}

TEST(Pickle, OrderedDictsMayHaveAttributes) {
  const Read read(
      PickleWriter().OrderedDict().Str("w").Int(1).Raw("s}").Str("_metadata").OrderedDict().Raw("sb").Stop());
  ASSERT_TRUE(read.result.ok()) << read.result.status().message();
  EXPECT_EQ(read.root().items.size(), 2U);
  const Read made(PickleWriter().Global("collections", "OrderedDict").Raw(")\x81").Stop());
  EXPECT_TRUE(made.result.ok()) << made.result.status().message();
}

TEST(Pickle, NothingIsCalled) {
  const std::string wants =
      "pickle wants to call \"posix.system\"; only tensors and dicts are read, nothing is executed";
  const Status status = ErrorOf(PickleWriter().Global("posix", "system").Raw("(").Str("id").Raw("tR").Stop());
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr(wants));
  EXPECT_THAT(Error(PickleWriter(4).Raw("\x8c\x05posix\x8c\x06system\x93")), HasSubstr(wants));
  EXPECT_THAT(Error(PickleWriter().Raw("(").Str("id").Raw("iposix\nsystem\n")), HasSubstr(wants));
  EXPECT_THAT(Error(PickleWriter().Global("builtins", "eval")), HasSubstr("\"builtins.eval\""));
  EXPECT_THAT(Error(PickleWriter().Global("torch", "load")), HasSubstr("\"torch.load\""));
  EXPECT_THAT(Error(PickleWriter().Global("torch._utils", "_rebuild_tensor_v2.__globals__")), HasSubstr("__globals__"));
  EXPECT_THAT(Error(PickleWriter().Global("", "")), HasSubstr("wants to call \".\""));
  EXPECT_THAT(Error(PickleWriter().Global("a\x1b[31m", "b")), HasSubstr("\"a\\x1b[31m.b\""));
  EXPECT_THAT(Error(PickleWriter().Raw("c"s + std::string(1000, 'a') + "\nb\n")),
              HasSubstr("a name is cut off or longer"));
  EXPECT_THAT(Error(PickleWriter().Raw("(").Global("collections", "OrderedDict").Raw("o")), HasSubstr("opcode OBJ"));
  EXPECT_THAT(Error(PickleWriter().Global("collections", "OrderedDict").Raw(")}\x92")), HasSubstr("opcode NEWOBJ_EX"));
  EXPECT_THAT(BodyError("\x82\x01"), HasSubstr("opcode EXT"));
  EXPECT_THAT(BodyError("\x83\x01\x01"), HasSubstr("opcode EXT"));
  EXPECT_THAT(BodyError("\x84\x01\x01\x01\x01"), HasSubstr("opcode EXT"));
}

TEST(Pickle, KnownNamesAreCalledOnlyAsTorchDoes) {
  EXPECT_THAT(Error(PickleWriter().Global("torch", "FloatStorage").Raw(")R")),
              HasSubstr("wants to call \"torch.FloatStorage\""));
  EXPECT_THAT(Error(PickleWriter().Global("torch", "float32").Raw(")R")), HasSubstr("wants to call \"torch.float32\""));
  EXPECT_THAT(Error(PickleWriter().Global("torch", "FloatStorage").Raw(")\x81")), HasSubstr("\"torch.FloatStorage\""));
  EXPECT_THAT(Error(PickleWriter().Global("torch._utils", "_rebuild_tensor_v2").Raw(")\x81")),
              HasSubstr("_rebuild_tensor_v2"));
  EXPECT_THAT(Error(PickleWriter().Global("torch._utils", "_rebuild_tensor_v2").Raw(")R")),
              HasSubstr("not as torch.save writes them"));
  EXPECT_THAT(Error(PickleWriter().Global("torch._utils", "_rebuild_tensor_v2").Raw("]R")),
              HasSubstr("are a list instead of a tuple"));
  EXPECT_THAT(Error(PickleWriter().Global("torch._utils", "_rebuild_parameter").Raw("(NNNtR")),
              HasSubstr("_rebuild_parameter are not"));
  EXPECT_THAT(Error(PickleWriter().Global("collections", "OrderedDict").Raw("]\x85R")),
              HasSubstr("OrderedDict from arguments"));
  EXPECT_THAT(Error(PickleWriter().Str("system").Raw(")R")), HasSubstr("wants to call a string"));
  EXPECT_THAT(BodyError("}}b"), HasSubstr("wants to set the state of a dict"));
  EXPECT_THAT(Error(PickleWriter().OrderedDict().Raw("Nb")), HasSubstr("wants to set the state"));
  EXPECT_THAT(Error(PickleWriter()
                        .Global("collections", "OrderedDict")
                        .Raw("}")
                        .Str("__setstate__")
                        .Global("torch", "bool")
                        .Raw("sb")),
              HasSubstr("wants to set the state of a class or function"));
  EXPECT_THAT(Error(PickleWriter().Tensor("FloatStorage", "0", 1, 0, {}, {}).Raw("}b")),
              HasSubstr("state of a tensor"));
}

TEST(Pickle, RefusesBrokenTensors) {
  const auto storage = [](const std::string& body) { return BodyError(body + "Q"); };
  EXPECT_THAT(storage("N"), HasSubstr("a persistent id that isn't"));
  EXPECT_THAT(storage("(NNNNNt"), HasSubstr("a persistent id that isn't"));
  EXPECT_THAT(storage("(U\x07storageNNNNt"), HasSubstr("isn't one of torch's storage classes"));
  EXPECT_THAT(storage("(U\x07storagectorch\nfloat32\nNNNt"), HasSubstr("isn't one of torch's storage classes"));
  EXPECT_THAT(storage("(U\x07storagectorch\nIntStorage\nU\x01kU\x03"s + "cpuNt"),
              HasSubstr("key or number of elements"));
  EXPECT_THAT(storage("(U\x07storagectorch\nIntStorage\nU\x01kU\x03"s + "cpuJ\xff\xff\xff\xfft"),
              HasSubstr("key or number of elements"));
  EXPECT_THAT(storage("(U\x07storagectorch\nIntStorage\nU\x01kU\x03"s + "cpuK\x01)t"),
              HasSubstr("a view of another one"));
  const std::vector<int64_t> nine(9, 1);
  EXPECT_THAT(Error(PickleWriter().Tensor("IntStorage", "0", 1, 0, nine, nine)), HasSubstr("a tuple of at most 8"));
  EXPECT_THAT(Error(PickleWriter().Tensor("IntStorage", "0", 1, 0, {1, 1}, {1})),
              HasSubstr("2 dimensions, but 1 strides"));
  PickleWriter text;
  text.Global("torch._utils", "_rebuild_tensor_v2").Raw("(").Storage("IntStorage", "0", 1).Int(0);
  EXPECT_THAT(Error(PickleWriter(text).Raw("(U\x01xt)\x89}tR")), HasSubstr("shape has a string in it"));
  EXPECT_THAT(Error(PickleWriter(text).Raw("))\x89}}U\x03negK\x01stR")), HasSubstr("conjugated or negated"));
  PickleWriter v3;
  v3.Global("torch._utils", "_rebuild_tensor_v3").Raw("(").Storage("FloatStorage", "0", 1).Int(0).Raw("))\x89}");
  EXPECT_THAT(Error(PickleWriter(v3).Global("torch", "float32").Raw("tR")), HasSubstr("not as torch.save writes them"));
}

TEST(Pickle, EveryTruncationIsAnError) {
  const std::string pickle =
      PickleWriter().Raw("}").Str("w").Tensor("FloatStorage", "0", 6, 0, {2, 3}, {3, 1}).Raw("s").Stop();
  ASSERT_TRUE(Read(pickle).result.ok());
  for (size_t size = 0; size < pickle.size(); ++size) {
    EXPECT_THAT(ErrorOf(pickle.substr(0, size)).message(), HasSubstr("pickle")) << size;
  }
  EXPECT_THAT(ErrorOf(pickle + "x").message(), HasSubstr("ends 1 bytes before the end"));
  EXPECT_THAT(ErrorOf(pickle.substr(0, pickle.size() - 1)).message(), HasSubstr("cut off"));  // no STOP
}

TEST(Pickle, RefusesOtherProtocolsAndOpcodes) {
  EXPECT_THAT(ErrorOf("(dp0\n.").message(), HasSubstr("doesn't begin with its protocol"));
  EXPECT_THAT(ErrorOf("\x80\x01}.").message(), HasSubstr("protocol 1; 2 to 5 are read"));
  EXPECT_THAT(ErrorOf("\x80\x06}.").message(), HasSubstr("protocol 6"));
  for (const char op : {'F', 'I', 'L', 'P', 'S', 'V', 'g', 'p'}) {
    EXPECT_THAT(BodyError(std::string(1, op) + "1\n"), HasSubstr("opcode '"s + op + "' of protocol 0"));
  }
  EXPECT_THAT(BodyError("\x8f"), HasSubstr("holds a set"));
  EXPECT_THAT(BodyError("\x96\x01\x00\x00\x00\x00\x00\x00\x00x"s), HasSubstr("byte array"));
  EXPECT_THAT(BodyError("\xff"), HasSubstr("there is no opcode 255"));
}

TEST(Pickle, StackErrors) {
  for (const char* body : {"0",         "1",          "2",    "a",    "s",  "e",       "u",    "t",
                           "l",         "d",          "R",    "Q",    "b",  "q\x01",   "\x94", "\x85",
                           "K\x01\x86", "(K\x01\x86", "\x93", "\x81", "(a", "K\x01(a", "(NNs", "K\x01(q\x01"}) {
    EXPECT_THAT(BodyError(body), testing::AnyOf(HasSubstr("stack runs empty"), HasSubstr("a mark is missing"))) << body;
  }
  EXPECT_THAT(BodyError(""), HasSubstr("ends with 0 values on its stack"));
  EXPECT_THAT(BodyError("NN"), HasSubstr("ends with 2 values"));
  EXPECT_THAT(BodyError("N("), HasSubstr("ends with"));
  EXPECT_THAT(BodyError("h\x01"), HasSubstr("nothing in its memo at place 1"));
  EXPECT_THAT(BodyError("j\x01\x02\x03\x04"), HasSubstr("nothing in its memo at place 67305985"));
  EXPECT_THAT(BodyError("NNa"), HasSubstr("puts items into None as if it were a list"));
  EXPECT_THAT(BodyError("]NNs"), HasSubstr("puts items into a list as if it were a dict"));
  EXPECT_THAT(BodyError(")Na"), HasSubstr("puts items into a tuple"));
  EXPECT_THAT(BodyError("NN\x93"), HasSubstr("a name is None and None instead of two strings"));
}

TEST(Pickle, DictKeysAreHashable) {
  EXPECT_THAT(BodyError("}]Ns"), HasSubstr("a dict's key is a list"));
  EXPECT_THAT(BodyError("}}Ns"), HasSubstr("a dict's key is a dict"));
  EXPECT_THAT(BodyError("(]Nd"), HasSubstr("a dict's key is a list"));
  EXPECT_THAT(BodyError("}(NN)Nu"), HasSubstr("a dict's key is a tuple"));
  EXPECT_THAT(BodyError("}(Nu"), HasSubstr("key has no value"));
  EXPECT_THAT(BodyError("(Nd"), HasSubstr("key has no value"));
}

TEST(Pickle, SizesThatLie) {
  EXPECT_THAT(BodyError("\x8d\x00\x00\x00\x00\x00\x00\x00\x80"s),
              HasSubstr("a string of 9223372036854775808 bytes is a lie"));
  EXPECT_THAT(BodyError("\x8e\xff\xff\xff\xff\xff\xff\xff\xff"s), HasSubstr("is a lie"));
  EXPECT_THAT(BodyError("X\xff\xff\xff\xff"s), HasSubstr("is a lie"));
  EXPECT_THAT(BodyError("\x8b\xff\xff\xff\x7f"s), HasSubstr("an integer of 2147483647 bytes; at most 8"));
  EXPECT_THAT(BodyError("\x8b\xff\xff\xff\xff"s), HasSubstr("an integer of -1 bytes"));
  EXPECT_THAT(BodyError("\x8a\x09"s + std::string(9, '\1')), HasSubstr("an integer of 9 bytes"));
  EXPECT_THAT(BodyError("\x95\xff\xff\xff\xff\xff\xff\xff\xff"s), HasSubstr("inside a frame"));
}

TEST(Pickle, CyclesAndDepthAreHarmless) {
  const Read cycle = ReadBody("]q\x01h\x01"s + "a");
  ASSERT_TRUE(cycle.result.ok());
  EXPECT_THAT(cycle.root().items, ElementsAre(cycle.result->root));
  const size_t depth = 1'000'000;
  std::string deep(depth, ']');
  EXPECT_TRUE(ReadBody(deep + std::string(depth - 1, 'a')).result.ok());
  EXPECT_TRUE(ReadBody(")"s + std::string(depth, '\x85')).result.ok());
  EXPECT_TRUE(ReadBody(std::string(depth, '(') + std::string(depth, 't')).result.ok());
}

TEST(Pickle, BombsMeetLimits) {
  EXPECT_THAT(BodyError("N"s + std::string(5'000'000, '2')), HasSubstr("more than 1048576 values on its stack"));
  EXPECT_THAT(BodyError(std::string(5'000'000, '(')), HasSubstr("more than 1048576 marks"));
  std::string lists;
  std::string memo = "N";
  for (int i = 0; i < 3'000'000; ++i) {
    lists += "]0";
    memo += "\x94";
  }
  EXPECT_THAT(BodyError(lists), HasSubstr("more than 2097152 values"));
  EXPECT_THAT(BodyError(memo), HasSubstr("values in its memo"));
  // The billion laughs: each level names the one before ten times. It costs what it says, not what it means.
  std::string laughs = "]q\x01"s;
  for (int i = 0; i < 1000; ++i) {
    laughs += "](h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01"s + "eq\x01\x86"s;
  }
  EXPECT_TRUE(ReadBody(laughs).result.ok());
  PickleWriter tensors;
  tensors.Raw("](").Global("torch._utils", "_rebuild_tensor_v2").Raw("q\x01(").Storage("IntStorage", "0", 1);
  tensors.Int(0).Raw("))\x89}tq\x02R");
  for (int i = 0; i < 70'000; ++i) {
    tensors.Raw("h\x01h\x02R");
  }
  EXPECT_THAT(Error(tensors.Raw("e")), HasSubstr("more than 65536 tensors"));
}

TEST(Pickle, TimeIsLinear) {
  // A list and a dict that grow by one item at a time, with a million-item tuple looked up at every step. Quadratic
  // work would be 10^11 steps or more.
  std::string grow = "("s + std::string(1'000'000, '2').replace(0, 1, "N") + "tq\x01"s + "]";
  for (int i = 0; i < 300'000; ++i) {
    grow += "h\x01"s + "a";
  }
  grow += "}";
  for (int i = 0; i < 300'000; ++i) {
    grow += "Nh\x01s";
  }
  const auto start = std::chrono::steady_clock::now();
  const Read read = ReadBody(grow + "\x87");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  ASSERT_TRUE(read.result.ok()) << read.result.status().message();
  EXPECT_EQ(read.result->values[read.root().items[1]].items.size(), 300'000U);
}

}  // namespace
}  // namespace phidias
