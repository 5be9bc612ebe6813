// The torch.save reader: against PyTorch's own file (same tensors as its safetensors twin), against files by Python's
// pickler in every protocol with every kind of view, and against files that lie.
#include "model/files/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "model/files/little_endian.h"
#include "model/files/torch_test_util.h"

namespace phidias {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using torch_test::AsBytes;
using torch_test::BuildTorchFile;
using torch_test::BuildZip;
using torch_test::Le;
using torch_test::PickleWriter;
using torch_test::ZipItem;

const std::string kGolden = PHIDIAS_SOURCE_DIR "/tests/golden/";

template <class T>
std::vector<T> Values(const StoredTensor& tensor) {
  std::vector<T> values(tensor.bytes / sizeof(T));
  if (!values.empty()) {
    std::memcpy(values.data(), tensor.data, tensor.bytes);
  }
  return values;
}

std::string Floats(int count) {
  std::string data;
  for (int i = 0; i < count; ++i) {
    data += Le(static_cast<float>(i));
  }
  return data;
}

Status ErrorOf(const std::string& file) {
  const auto store = ReadTorchBytes(AsBytes(file), "x.bin");
  EXPECT_FALSE(store.ok());
  EXPECT_TRUE(store.status().message().starts_with("x.bin: ")) << store.status().message();
  return store.status();
}

std::string Error(const PickleWriter& pickle, const std::vector<ZipItem>& more = {}) {
  return ErrorOf(BuildTorchFile(pickle.Stop(), more)).message();
}

// One tensor "w" over one storage of `count` floats.
std::string TensorError(int64_t elements, int64_t offset, const std::vector<int64_t>& shape,
                        const std::vector<int64_t>& strides, int count = 6) {
  return Error(PickleWriter().Raw("}").Str("w").Tensor("FloatStorage", "0", elements, offset, shape, strides).Raw("s"),
               {{.name = "archive/data/0", .data = Floats(count)}});
}

// name -> (dtype, shape, bytes) by a minimal reader of safetensors.
struct Plain {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

void ReadPlainSafetensors(const std::string& path, std::map<std::string, Plain>* tensors) {
  const auto file = ReadFile(path, 100'000'000);
  ASSERT_TRUE(file.ok()) << file.status().message();
  const auto header_size = LoadLittleEndian<uint64_t>(AsBytes(*file), 0);
  const auto header = nlohmann::json::parse(file->substr(8, header_size));
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      const size_t begin = entry["data_offsets"][0];
      const size_t end = entry["data_offsets"][1];
      (*tensors)[name] = {entry["dtype"], entry["shape"], file->substr(8 + header_size + begin, end - begin)};
    }
  }
}

TEST(TorchFile, SameTensorsAsTheSafetensorsTwin) {
  std::map<std::string, Plain> expected;
  for (int i = 1; i <= 6; ++i) {
    ReadPlainSafetensors(kGolden + "tiny-phi2/model-0000" + std::to_string(i) + "-of-00006.safetensors", &expected);
  }
  const std::string path = kGolden + "tiny-phi2-bin/pytorch_model.bin";
  const auto store = ReadTorchFile(path);
  ASSERT_TRUE(store.ok()) << store.status().message();
  ASSERT_EQ(store->files.size(), 1U);
  EXPECT_TRUE(store->owned.empty());
  EXPECT_EQ(store->tensors.size(), expected.size());
  EXPECT_GT(expected.size(), 40U);
  for (const auto& [name, plain] : expected) {
    ASSERT_TRUE(store->tensors.contains(name)) << name;
    const StoredTensor& tensor = store->tensors.at(name);
    EXPECT_EQ(DTypeName(tensor.dtype), plain.dtype) << name;
    EXPECT_EQ(tensor.shape, plain.shape) << name;
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(tensor.data), tensor.bytes), plain.bytes) << name;
    EXPECT_EQ(tensor.file, path);
  }
}

class TorchProtocols : public testing::TestWithParam<int> {};

TEST_P(TorchProtocols, EveryKindOfView) {
  const auto store = ReadTorchFile(kGolden + "torch-protocols/protocol" + std::to_string(GetParam()) + ".pt");
  ASSERT_TRUE(store.ok()) << store.status().message();
  const auto& tensors = store->tensors;
  ASSERT_EQ(tensors.size(), 13U);  // `nothing` and `head._extra_state` are no tensors
  std::vector<float> counting(24);
  for (size_t i = 0; i < 24; ++i) {
    counting[i] = static_cast<float>(i);
  }
  EXPECT_EQ(Values<float>(tensors.at("plain")), counting);
  EXPECT_EQ(tensors.at("tied").data, tensors.at("plain").data);
  EXPECT_THAT(tensors.at("transposed").shape, ElementsAre(6, 4));
  EXPECT_THAT(Values<float>(tensors.at("transposed")),
              ElementsAre(0, 6, 12, 18, 1, 7, 13, 19, 2, 8, 14, 20, 3, 9, 15, 21, 4, 10, 16, 22, 5, 11, 17, 23));
  EXPECT_THAT(Values<float>(tensors.at("row")), ElementsAre(6, 7, 8, 9, 10, 11));
  EXPECT_THAT(Values<float>(tensors.at("column")), ElementsAre(1, 7, 13, 19));
  EXPECT_THAT(tensors.at("cube").shape, ElementsAre(2, 3, 4));
  EXPECT_THAT(Values<float>(tensors.at("cube")),
              ElementsAre(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 12, 15, 18, 21, 13, 16, 19, 22, 14, 17, 20, 23));
  EXPECT_THAT(Values<float>(tensors.at("expanded")), ElementsAre(5, 6, 5, 6, 5, 6));
  EXPECT_TRUE(tensors.at("scalar").shape.empty());
  EXPECT_THAT(Values<float>(tensors.at("scalar")), ElementsAre(23));
  EXPECT_EQ(tensors.at("longs").dtype, DType::kI64);
  EXPECT_THAT(Values<int64_t>(tensors.at("longs")), ElementsAre(-1, int64_t{1} << 40, 7));
  EXPECT_EQ(tensors.at("brain").dtype, DType::kBF16);
  EXPECT_THAT(Values<uint16_t>(tensors.at("brain")), ElementsAre(0x3f80, 0x4000, 0x4040, 0x4080));
  EXPECT_THAT(tensors.at("empty").shape, ElementsAre(0, 5));
  EXPECT_EQ(tensors.at("empty").bytes, 0U);
  EXPECT_EQ(tensors.at("bools").dtype, DType::kBool);
  EXPECT_THAT(Values<uint8_t>(tensors.at("bools")), ElementsAre(1, 0));
  EXPECT_EQ(tensors.at("raw").dtype, DType::kF16);
  EXPECT_THAT(Values<uint16_t>(tensors.at("raw")), ElementsAre(0x3c00, 0x4000, 0x4200, 0x4400));
  EXPECT_EQ(store->owned.size(), 4U);  // transposed, column, cube, expanded
}

INSTANTIATE_TEST_SUITE_P(All, TorchProtocols, testing::Values(2, 3, 4, 5));

TEST(TorchFile, FindsTheDictUnderItsUsualNames) {
  const std::vector<ZipItem> data = {{.name = "archive/data/0", .data = Floats(2)}};
  for (const char* wrapper : {"state_dict", "model", "module"}) {
    PickleWriter pickle;
    pickle.Raw("}").Str("optimizer").Raw("]s").Int(3).Int(4).Raw("s").Str(wrapper).Raw("}").Str("w");
    pickle.Tensor("FloatStorage", "0", 2, 0, {2}, {1}).Raw("ss");
    const std::string file = BuildTorchFile(pickle.Stop(), data);
    const auto store = ReadTorchBytes(AsBytes(file), "x.bin");
    ASSERT_TRUE(store.ok()) << store.status().message();
    EXPECT_THAT(Values<float>(store->tensors.at("w")), ElementsAre(0, 1));
  }
}

TEST(TorchFile, NamesWhatIsNotATensor) {
  EXPECT_THAT(Error(PickleWriter().Raw("}").Str("epoch").Int(3).Raw("s")),
              HasSubstr("\"epoch\" is an int, not a tensor; save the bare weights"));
  EXPECT_THAT(Error(PickleWriter().Raw("}").Int(3).Int(3).Raw("s")), HasSubstr("its dict has an int as a key"));
  EXPECT_THAT(Error(PickleWriter().Raw("]")), HasSubstr("holds a list, not a dict from names to tensors"));
  EXPECT_THAT(Error(PickleWriter().Tensor("FloatStorage", "0", 1, 0, {}, {})), HasSubstr("holds a tensor, not a dict"));
  EXPECT_THAT(Error(PickleWriter().Raw("}")), HasSubstr("holds no tensors"));
  EXPECT_THAT(Error(PickleWriter().Raw("}").Str("w").Raw("Ns")), HasSubstr("holds no tensors"));
  EXPECT_THAT(Error(PickleWriter().Raw("}").Str("state_dict").Raw("}").Str("model").Raw("}ss")),
              HasSubstr("\"model\" is a dict, not a tensor"));
}

TEST(TorchFile, RefusesStrangeNames) {
  const auto named = [](const std::string& name) {
    return Error(PickleWriter().Raw("}").Str(name).Tensor("FloatStorage", "0", 1, 0, {}, {}).Raw("s"),
                 {{.name = "archive/data/0", .data = Floats(1)}});
  };
  EXPECT_THAT(named(""), HasSubstr("tensor name \"\" is empty"));
  EXPECT_THAT(named("\xff"), HasSubstr("tensor name \"\\xff\" is empty, longer than 512 bytes, or not UTF-8"));
  EXPECT_THAT(named(std::string(513, 'n')), HasSubstr("longer than 512 bytes"));
  PickleWriter twice;
  twice.Raw("}(").Str("w").Tensor("FloatStorage", "0", 1, 0, {}, {}).Str("w").Tensor("FloatStorage", "0", 1, 0, {}, {});
  EXPECT_THAT(Error(twice.Raw("u"), {{.name = "archive/data/0", .data = Floats(1)}}),
              HasSubstr("\"w\" is there twice"));
}

TEST(TorchFile, ExecutesNothing) {
  const Status status =
      ErrorOf(BuildTorchFile(PickleWriter().Global("posix", "system").Raw("(").Str("id").Raw("tR").Stop(), {}));
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), testing::StartsWith("x.bin: pickle wants to call \"posix.system\"; only tensors and "
                                                    "dicts are read, nothing is executed"));
}

TEST(TorchFile, TensorsStayInsideTheirStorage) {
  EXPECT_THAT(TensorError(7, 0, {6}, {1}),
              HasSubstr("x.bin: tensor \"w\": its storage should have 7 elements of 4 bytes, "
                        "but the archive's entry \"archive/data/0\" has 24 bytes"));
  EXPECT_THAT(TensorError(int64_t{1} << 62, 0, {6}, {1}), HasSubstr("its storage should have 4611686018427387904"));
  EXPECT_THAT(TensorError(6, 0, {7}, {1}), HasSubstr("shape [7] with strides [1] from element 0 reaches beyond its "
                                                     "storage of 6 elements"));
  EXPECT_THAT(TensorError(6, 1, {2, 3}, {3, 1}), HasSubstr("from element 1 reaches beyond"));
  EXPECT_THAT(TensorError(5, 0, {2, 3}, {3, 1}), HasSubstr("reaches beyond its storage of 5 elements"));
  EXPECT_THAT(TensorError(6, -1, {2}, {1}), HasSubstr("from element -1 reaches beyond"));
  EXPECT_THAT(TensorError(6, 7, {0}, {1}), HasSubstr("from element 7 reaches beyond"));
  EXPECT_THAT(TensorError(6, 6, {}, {}), HasSubstr("from element 6 reaches beyond"));
  EXPECT_THAT(TensorError(6, 0, {2}, {-1}), HasSubstr("strides [-1] are negative"));
  EXPECT_THAT(TensorError(6, 0, {-2}, {1}), HasSubstr("negative dimension"));
  EXPECT_THAT(TensorError(6, 0, {2, 3}, {INT64_MAX, INT64_MAX}), HasSubstr("reaches beyond"));
  EXPECT_THAT(TensorError(6, 5, {2}, {INT64_MAX}), HasSubstr("reaches beyond"));
  EXPECT_THAT(TensorError(6, 0, {int64_t{1} << 40, int64_t{1} << 40}, {0, 0}), HasSubstr("more than 2^50 elements"));
}

TEST(TorchFile, HugeDimensionsOfEmptyAndSingularTensorsAreFine) {
  PickleWriter pickle;
  pickle.Raw("}(").Str("e").Tensor("FloatStorage", "0", 6, 6, {0, INT64_MAX, INT64_MAX}, {1, INT64_MAX, 5});
  pickle.Str("s").Tensor("FloatStorage", "0", 6, 1, {1, 2, 1, 2}, {INT64_MAX, 1, INT64_MAX, 2}).Raw("u");
  const std::string file = BuildTorchFile(pickle.Stop(), {{.name = "archive/data/0", .data = Floats(6)}});
  const auto store = ReadTorchBytes(AsBytes(file), "x.bin");
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_EQ(store->tensors.at("e").bytes, 0U);
  EXPECT_THAT(Values<float>(store->tensors.at("s")), ElementsAre(1, 3, 2, 4));
}

TEST(TorchFile, CopiesStayInProportion) {
  EXPECT_THAT(TensorError(6, 0, {1 << 20, 1 << 20}, {0, 0}),
              HasSubstr("would need a copy of 4.40 TB, out of proportion to its file; save it after .contiguous()"));
  // Each of these alone is allowed, not all of them together.
  PickleWriter many;
  many.Raw("}(");
  for (int i = 0; i < 10; ++i) {
    many.Str("w"s + std::to_string(i)).Tensor("FloatStorage", "0", 6, 0, {1 << 21}, {0});
  }
  EXPECT_THAT(Error(many.Raw("u"), {{.name = "archive/data/0", .data = Floats(6)}}),
              HasSubstr("tensor \"w8\": shape [2097152] with strides [0] would need a copy"));
}

TEST(TorchFile, NamesUnsupportedTypesAndMissingStorages) {
  EXPECT_THAT(Error(PickleWriter().Raw("}").Str("w").Tensor("ComplexFloatStorage", "0", 1, 0, {}, {}).Raw("s")),
              HasSubstr("tensor \"w\": its type is ComplexFloatStorage, which is not read here; F32, F16"));
  EXPECT_THAT(Error(PickleWriter().Raw("}").Str("w").Tensor("UntypedStorage", "0", 1, 0, {}, {}).Raw("s")),
              HasSubstr("its type is UntypedStorage"));
  EXPECT_THAT(Error(PickleWriter().Raw("}").Str("w").Tensor("FloatStorage", "1", 1, 0, {}, {}).Raw("s")),
              HasSubstr("its storage is the archive's entry \"archive/data/1\", which is not there"));
  const std::string key(5000, 'k');
  EXPECT_THAT(Error(PickleWriter().Raw("}").Str("w").Tensor("FloatStorage", key, 1, 0, {}, {}).Raw("s")),
              HasSubstr("key has 5000 bytes"));
}

TEST(TorchFile, ByteOrder) {
  PickleWriter pickle;
  pickle.Raw("}").Str("w").Tensor("FloatStorage", "0", 1, 0, {}, {}).Raw("s");
  const auto with = [&](const std::string& order) {
    return BuildTorchFile(
        pickle.Stop(), {{.name = "archive/data/0", .data = Floats(1)}, {.name = "archive/byteorder", .data = order}});
  };
  const std::string little = with("little");
  EXPECT_TRUE(ReadTorchBytes(AsBytes(little), "x.bin").ok());
  EXPECT_THAT(ErrorOf(with("big")).message(), HasSubstr("its tensors are big-endian"));
  EXPECT_THAT(ErrorOf(with("middle")).message(), HasSubstr("its byteorder is \"middle\"; \"little\" was expected"));
}

TEST(TorchFile, OtherArchives) {
  const std::string pickle = PickleWriter().Raw("}").Stop();
  EXPECT_THAT(ErrorOf(BuildZip({{.name = "word/document.xml", .data = "x"}})).message(), HasSubstr("without data.pkl"));
  EXPECT_THAT(ErrorOf(BuildZip({{.name = "a/b/data.pkl", .data = pickle}})).message(), HasSubstr("without data.pkl"));
  EXPECT_THAT(
      ErrorOf(BuildZip({{.name = "a/data.pkl", .data = pickle}, {.name = "b/data.pkl", .data = pickle}})).message(),
      HasSubstr("two pickles: \"a/data.pkl\" and \"b/data.pkl\""));
  for (const char* name : {"m/constants.pkl", "m/code/__torch__.py"}) {
    EXPECT_THAT(ErrorOf(BuildZip({{.name = "m/data.pkl", .data = pickle}, {.name = name, .data = ""}})).message(),
                HasSubstr("is a TorchScript archive, which is a program; load it with torch.jit.load"));
  }
  EXPECT_THAT(ErrorOf(BuildZip({{.name = "m/data.pkl", .data = pickle, .method = 8}})).message(),
              HasSubstr("is compressed (method 8)"));
}

TEST(TorchFile, OtherFiles) {
  EXPECT_THAT(ErrorOf("").message(), HasSubstr("is empty, so not a file by torch.save"));
  EXPECT_THAT(ErrorOf("GGUF\3\0\0\0"s).message(), HasSubstr("is a GGUF file"));
  EXPECT_THAT(ErrorOf("version https://git-lfs.github.com/spec/v1\n").message(), HasSubstr("Git LFS pointer"));
  EXPECT_THAT(ErrorOf("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.").message(),
              HasSubstr("from before PyTorch 1.6"));
  EXPECT_THAT(ErrorOf("something").message(), HasSubstr("is not a zip archive"));
  EXPECT_EQ(ReadTorchFile(kGolden + "none.bin").status().code(), StatusCode::kNotFound);
}

TEST(TorchFile, DamagedPickleIsFoundByItsChecksum) {
  std::string file = BuildTorchFile(PickleWriter().Raw("}").Str("weight").Raw("Ns").Stop(), {});
  file[file.find("weight")] = 'W';
  EXPECT_THAT(ErrorOf(file).message(), HasSubstr("zip entry \"archive/data.pkl\" is damaged"));
}

TEST(TorchFile, EveryTruncationIsAnError) {
  const auto file = ReadFile(kGolden + "torch-protocols/protocol4.pt", 100'000);
  ASSERT_TRUE(file.ok());
  for (size_t size = 0; size < file->size(); ++size) {
    EXPECT_FALSE(ReadTorchBytes(AsBytes(file->substr(0, size)), "x.bin").ok()) << size;
  }
}

TEST(TorchIndex, ReadsShards) {
  const std::string folder = testing::TempDir() + "/torch_index";
  std::filesystem::create_directories(folder);
  const auto shard = [&](const std::string& file, const std::string& name, int count) {
    PickleWriter pickle;
    pickle.Raw("}").Str(name).Tensor("FloatStorage", "0", count, 0, {count}, {1}).Raw("s");
    std::ofstream(folder + "/" + file, std::ios::binary)
        << BuildTorchFile(pickle.Stop(), {{.name = "archive/data/0", .data = Floats(count)}});
  };
  shard("one.bin", "a", 2);
  shard("two.bin", "b", 3);
  const std::string index = folder + "/pytorch_model.bin.index.json";
  std::ofstream(index) << R"({"weight_map": {"a": "one.bin", "b": "two.bin"}})";
  const auto store = ReadTorchIndex(index);
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_EQ(store->files.size(), 2U);
  EXPECT_THAT(Values<float>(store->tensors.at("b")), ElementsAre(0, 1, 2));
  std::ofstream(index) << R"({"weight_map": {"a": "one.bin", "c": "two.bin"}})";
  EXPECT_THAT(ReadTorchIndex(index).status().message(), HasSubstr("two.bin: tensor \"b\" is not in "));
}

}  // namespace
}  // namespace phidias
