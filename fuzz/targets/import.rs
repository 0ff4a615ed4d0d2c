//! A CSV file of enterprises.

use greenlane::{cli::EnterpriseFile, domain::enterprise::Enterprise};

use super::Seed;

const HEADER: [&str; 7] = [
    "customs_code",
    "social_credit_code",
    "name",
    "credit_tier",
    "tier_effective_from",
    "tier_valid_until",
    "suspended",
];

pub(crate) fn run(data: &[u8]) -> bool {
    let Ok(mut file) = EnterpriseFile::open(data) else {
        return false;
    };
    let ends = data.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
    let (mut last, mut taken) = (0, Vec::new());
    while let Ok(Some((line, read))) = file.next_record() {
        assert!(line > last, "line {line} behind {last}");
        assert!(line <= ends as u64 + 1, "line {line} of {}", ends + 1);
        last = line;
        match read {
            Ok(enterprise) => taken.push(enterprise),
            Err(problem) => assert!(!problem.is_empty()),
        }
    }
    if taken.is_empty() {
        return false;
    }
    assert_eq!(read_again(&written(&taken)), taken, "written, they are others");
    true
}

fn written(enterprises: &[Enterprise]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER).expect("written");
    for enterprise in enterprises {
        let credit = &enterprise.credit;
        let social = enterprise.social_credit_code.map(|code| code.to_string());
        let record = [
            enterprise.customs_code.to_string(),
            social.unwrap_or_default(),
            enterprise.name.clone(),
            credit.credit_tier.to_string(),
            credit.tier_effective_from.to_string(),
            credit
                .tier_valid_until
                .map(|end| end.to_string())
                .unwrap_or_default(),
            credit.suspended.to_string(),
        ];
        writer.write_record(record).expect("written");
    }
    writer.into_inner().expect("written")
}

fn read_again(text: &[u8]) -> Vec<Enterprise> {
    let mut file = EnterpriseFile::open(text).expect("a header");
    std::iter::from_fn(|| file.next_record().expect("readable"))
        .map(|(_, read)| read.expect("an enterprise"))
        .collect()
}

pub(crate) fn seeds() -> Vec<Seed> {
    let plain = "customs_code,name,credit_tier,tier_effective_from\n1101919103,Trading,ADVANCED_CERTIFIED,2020-01-01\n";
    let all = "\u{feff}suspended,tier_valid_until,social_credit_code,name,tier_effective_from,customs_code,credit_tier\r\n\
        0,,91110000600037341L,\"上海, \"\"进出口\"\"\r\n有限公司\",2020-01-01,1101919103,REGULAR\r\n\r\n\
        true,2027-01-01,,B,2020-01-01,1101919104,DISCREDITED\r\n1,,,C,2020-13-01,11019191,X\r\n";
    vec![
        ("plain.csv".to_owned(), plain.as_bytes().to_vec()),
        ("all.csv".to_owned(), all.as_bytes().to_vec()),
    ]
}
